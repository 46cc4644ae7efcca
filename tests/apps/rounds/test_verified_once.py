"""The clients of a round ask for its version in the same moment."""

import threading
from pathlib import Path

import pytest

from apps.rounds import versions
from apps.rounds.models import ModelVersion
from tests.apps.aggregation.wide_rounds import flip
from tests.apps.together import together

pytestmark = pytest.mark.django_db(transaction=True)


def test_weights_that_many_ask_for_at_once_are_hashed_once(model, monkeypatch):
    version = ModelVersion.objects.get(model=model, number=0)
    versions._verified.clear()
    hashed, pause = [], threading.Event()
    monkeypatch.setattr(versions, "hash_anew", lambda stored: (hashed.append(stored), pause.wait(0.1)))
    assert together(*[lambda: versions.verify(version)] * 8) == [None] * 8
    assert hashed == [versions.weights_in(version)]


def test_weights_that_are_damaged_are_so_for_everybody_who_asks(model):
    version = ModelVersion.objects.get(model=model, number=0)
    versions._verified.clear()
    flip(Path(versions.storage().path(version.storage_name())))
    outcomes = together(*[lambda: versions.verify(version)] * 4)
    assert [type(outcome) for outcome in outcomes] == [versions.DamagedVersionError] * 4
