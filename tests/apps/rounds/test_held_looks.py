"""A look at an update that is held until there is news; what the client sees when it is not held is the same."""

import threading
import time

import pytest
from django.db import OperationalError

from apps.rounds import services
from apps.rounds.models import Update
from apps.rounds.selectors import held_looks
from apps.rounds.selectors.held_looks import HeldLooks
from tests.apps.places import submit
from tests.apps.together import together

LONG = 20.0
PREFER = {"Prefer": f"wait={LONG:.0f}"}


@pytest.fixture
def looks(mesh, monkeypatch, settings):
    """Held looks of this test's own; their thread, and its connection, are gone at the end."""
    settings.BOLTZ_HOLD_SECONDS = LONG
    own = HeldLooks(idle_seconds=0.05)
    monkeypatch.setattr(held_looks, "HELD_LOOKS", own)
    yield own
    wait_until(lambda: own._thread is None)


def wait_until(condition):
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def nothing_held(*_arguments, **_options):
    pytest.fail("a look was held")


@pytest.mark.django_db(transaction=True)
def test_a_look_that_would_wait_is_answered_when_the_update_is_decided(place, looks):
    update = submit(place)

    def decide():
        wait_until(lambda: looks._looks)
        services.process_update(update.pk)
        Update.objects.filter(pk=update.pk).update(state="rejected", code="not_finite")

    began = time.monotonic()
    answer, _ = together(lambda: place.client.get(place.path, unsigned=PREFER), decide)
    assert answer.json()["state"] == "rejected"
    assert time.monotonic() - began < LONG


@pytest.mark.django_db(transaction=True)
def test_it_is_answered_when_the_round_ends_without_the_update(place, looks):
    submit(place)

    def end():
        wait_until(lambda: looks._looks)
        place_round = Update.objects.get(pk=place.upload_id).round
        type(place_round).objects.filter(pk=place_round.pk).update(state="abandoned")

    began = time.monotonic()
    answer, _ = together(lambda: place.client.get(place.path, unsigned=PREFER), end)
    assert answer.json()["round_state"] == "abandoned"
    assert time.monotonic() - began < LONG


@pytest.mark.django_db(transaction=True)
def test_a_look_at_a_decided_update_is_not_held(place, looks, monkeypatch):
    Update.objects.filter(pk=submit(place).pk).update(state="rejected")
    monkeypatch.setattr(looks, "hold", nothing_held)
    assert place.client.get(place.path, unsigned=PREFER).json()["state"] == "rejected"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "prefer", [None, "", "wait", "wait=", "wait=0", "wait=-1", "wait=1e3", "await=9", "respond-async"]
)
def test_a_look_that_does_not_ask_to_wait_is_answered_at_once(place, looks, monkeypatch, prefer):
    submit(place)
    monkeypatch.setattr(looks, "hold", nothing_held)
    headers = {} if prefer is None else {"Prefer": prefer}
    assert place.client.get(place.path, unsigned=headers).json()["state"] == "received"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [("wait=7", 7), ('respond-async, WAIT = "7"', 7), ("wait=7; x=y, handling=lenient", 7), ("wait=999999", LONG)],
)
def test_a_look_waits_as_long_as_it_asked_for_and_never_longer_than_the_mesh_holds(
    place, looks, monkeypatch, prefer, seconds
):
    submit(place)
    asked = []
    monkeypatch.setattr(looks, "hold", lambda _, wait, **__: asked.append(wait) or True)
    assert place.client.get(place.path, unsigned={"Prefer": prefer}).json()["state"] == "received"
    assert asked == [seconds]


@pytest.mark.django_db(transaction=True)
def test_another_clients_update_is_unknown_and_nothing_is_held(place, joined, looks, monkeypatch):
    submit(place)
    monkeypatch.setattr(looks, "hold", nothing_held)
    assert joined("beta").client.get(place.path, unsigned=PREFER).json()["code"] == "unknown_update"


def test_a_look_ends_with_its_time():
    assert HeldLooks(lambda _: set(), idle_seconds=0.01).hold("u", 0.01)


def test_when_too_many_wait_the_next_is_not_held():
    decided = threading.Event()
    full = HeldLooks(lambda ids: set(ids) if decided.is_set() else set(), most=2, idle_seconds=0.01)
    threads = [threading.Thread(target=full.hold, args=(name, LONG)) for name in "ab"]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(full._looks) == 2)
    assert not full.hold("c", LONG)
    decided.set()
    for thread in threads:
        thread.join(LONG)
    assert full.hold("c", LONG)


def test_when_the_database_cannot_be_asked_nobody_waits_for_it():
    def gone(_):
        raise OperationalError

    began = time.monotonic()
    assert HeldLooks(gone, idle_seconds=0.01).hold("u", LONG)
    assert time.monotonic() - began < LONG


def test_an_update_that_has_waited_long_is_asked_for_seldom():
    asked = []
    looks = HeldLooks(lambda ids: asked.append(ids) or set(), idle_seconds=0.01)
    assert looks.hold("old", 0.3, age_seconds=3600.0)
    assert asked == [{"old"}]


def test_a_thread_that_went_for_want_of_work_comes_back():
    looks = HeldLooks(set, idle_seconds=0.01)
    assert looks.hold("a", LONG)
    wait_until(lambda: looks._thread is None)
    assert looks.hold("b", LONG)
