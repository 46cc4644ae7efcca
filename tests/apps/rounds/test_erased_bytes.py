"""Whatever a lost worker, a late one or a crash has left of an update that was erased goes, with the next tick at the latest."""

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.db.models.functions import Now

from apps.clients import services as clients
from apps.clients.models import Client
from apps.rounds import services, stores
from apps.rounds.models import Update
from apps.rounds.services import erasure, ingest, leases
from tests.apps.faults import can_be_destroyed_again, cannot_be_destroyed, raises
from tests.apps.places import submit
from tests.apps.unchanged import files, nothing_changes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_messages(monkeypatch):
    """What is committed here would be announced to workers that are not there."""
    monkeypatch.setattr("apps.dispatch._publisher.put", lambda *_: True)


@pytest.fixture
def update(joined):
    return submit(joined("alpha"))


def bytes_left():
    return [name for name in files() if name.startswith(("inbox", "staged"))]


def leave(name="alpha"):
    clients.erase(Client.objects.get(name=name), actor="test")


def time_passes(seconds):
    Update.objects.update(lease_expires_at=Now() - timedelta(seconds=seconds))


def lose_a_worker(update, monkeypatch):
    """A worker is killed when its segments are on disk and its decision is not in the database."""
    with monkeypatch.context() as fault:
        fault.setattr(ingest, "accept", raises(SystemExit()))
        with pytest.raises(SystemExit):
            services.process_update(update.pk)
    assert f"staged/{update.round_id}/{update.pk}.1" in bytes_left()


def test_the_segments_that_a_lost_worker_has_left_go_with_the_others(update, monkeypatch):
    lose_a_worker(update, monkeypatch)
    time_passes(1)
    services.process_update(update.pk)
    assert Update.objects.values_list("state", "staged_attempt").get() == ("staged", 2)
    leave()
    assert bytes_left() == []


def test_the_segments_of_a_lost_worker_whose_work_nobody_has_taken_over_go_too(update, monkeypatch):
    lose_a_worker(update, monkeypatch)
    leave()
    assert bytes_left() == []


@pytest.mark.parametrize(
    "end", [SystemExit(), OperationalError("canceling statement due to lock timeout")], ids=["killed", "failed"]
)
def test_what_a_late_worker_has_written_goes_with_the_next_tick(update, monkeypatch, end):
    """It has not learnt of the erasure when it is killed, or when the database fails it."""

    publish = stores.publish_file

    def too_late(file, target):
        leave()
        publish(file, target)
        raise end

    monkeypatch.setattr(stores, "publish_file", too_late)
    if isinstance(end, SystemExit):
        with pytest.raises(SystemExit):
            services.process_update(update.pk)
    else:
        services.process_update(update.pk)
    assert bytes_left() == [f"staged/{update.round_id}/{update.pk}.1"]
    assert services.erase_leftovers() == 0
    assert bytes_left() == []


@pytest.mark.parametrize("stage", ["received", "staged", "aggregated"])
def test_what_a_crash_after_the_commit_has_left_goes_with_the_next_tick(mesh, update, monkeypatch, stage):
    if stage == "staged":
        services.process_update(update.pk)
    if stage == "aggregated":
        mesh.finish_round()
    before = bytes_left()
    with monkeypatch.context() as crash:
        crash.setattr(erasure, "delete_all_bytes", lambda _: [])
        leave()
    assert bytes_left() == before != []
    services.erase_leftovers()
    assert bytes_left() == []


def test_after_an_hour_an_erased_update_is_not_looked_after_any_more(update):
    leave()
    time_passes(erasure.LATE_SECONDS - 10)
    services.erase_leftovers()
    assert Update.objects.get().lease_expires_at is not None
    time_passes(erasure.LATE_SECONDS + 10)
    services.erase_leftovers()
    assert Update.objects.get().lease_expires_at is None
    with nothing_changes():
        services.erase_leftovers()


def test_an_update_of_which_something_is_left_is_looked_after_for_longer(update):
    path = stores.envelope_path(update.body_sha256)
    cannot_be_destroyed(path)
    leave()
    time_passes(erasure.LATE_SECONDS + 10)
    services.erase_leftovers()
    assert Update.objects.get().lease_expires_at is not None
    can_be_destroyed_again(path)
    services.erase_leftovers()
    assert bytes_left() == []


def test_bytes_that_cannot_be_removed_do_not_keep_others(update, joined, caplog):
    other = submit(joined("beta"))
    cannot_be_destroyed(stores.envelope_path(update.body_sha256))
    leave("alpha")
    assert "IsADirectoryError" in caplog.text
    content = stores.envelope_path(other.body_sha256).read_bytes()
    leave("beta")
    stores.envelope_path(other.body_sha256).write_bytes(content)
    services.erase_leftovers()
    assert bytes_left() == []


def test_the_bytes_of_those_who_stay_are_left_alone(update, joined):
    other = submit(joined("beta"))
    leases.claim(other.pk)
    leave("alpha")
    kept = bytes_left()
    with nothing_changes():
        services.erase_leftovers()
    assert kept == [f"inbox/{other.body_sha256[:2]}/{other.body_sha256}"]
