"""Fixtures of runs."""

import pytest

from apps import dispatch
from apps.aggregation.services import runs
from tests.apps.aggregation.wide_rounds import SEGMENT, WideRounds
from tests.apps.places import alpha, joined, layout, model, place

__all__ = ["alpha", "joined", "layout", "messages", "model", "place", "several_shards", "wide"]


@pytest.fixture
def wide(mesh, mesh_http):
    return WideRounds(mesh_http)


@pytest.fixture
def frozen(wide, several_shards):
    """A frozen round of two members in three shards."""
    return wide.freeze(wide.vectors(2))


@pytest.fixture(autouse=True)
def messages(monkeypatch):
    """What is sent to the workers, who are not there; a test plays them."""
    sent = []

    class Chord:
        def __init__(self, header, app):
            self._header = header

        def __call__(self, body):
            sent.extend((signature.task, *signature.args) for signature in self._header)
            return body

    monkeypatch.setattr(dispatch, "publish", lambda task, *ids: sent.append((task, *ids)) or True)
    monkeypatch.setattr(dispatch._publisher, "put", lambda task, ids: sent.append((task, *ids)) or True)
    monkeypatch.setattr(runs.celery, "chord", Chord)
    return sent


@pytest.fixture
def several_shards(settings):
    """As many as there are whole segments."""
    settings.BOLTZ_SHARD_PARAMETERS = SEGMENT
