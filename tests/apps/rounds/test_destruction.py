"""What is destroyed and when: rounds after their replay window, scratch files, and all that an erased client has sent."""

import errno
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import F
from django.utils import timezone

from apps.aggregation.models import Run
from apps.audit import selectors as log
from apps.audit import services as audit
from apps.clients import services as clients
from apps.clients.models import Client
from apps.keys import services as keys
from apps.rounds import selectors, services, stores, versions
from apps.rounds.models import ModelVersion, Round, Update
from apps.rounds.services import leases, shredding
from tests.apps.faults import can_be_destroyed_again, cannot_be_destroyed
from tests.apps.places import submit
from tests.apps.unchanged import files, nothing_changes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_messages(monkeypatch):
    """What is committed here would be announced to workers that are not there."""
    monkeypatch.setattr("apps.dispatch._publisher.put", lambda *_: True)


@pytest.fixture
def members(joined):
    """Two clients whose updates are staged in round 1."""
    updates = [submit(joined(name)) for name in ("alpha", "beta")]
    for update in updates:
        services.process_update(update.pk)
    return updates


def below(part):
    return [name for name in files() if name.startswith(part)]


def leave(name):
    clients.erase(Client.objects.get(name=name), actor="test")


# --- after the replay window ------------------------------------------------------------------------------------------------


def end_round_days_ago(mesh, days):
    mesh.finish_round()
    Round.objects.update(ended_at=timezone.now() - timedelta(days=days))
    return Round.objects.select_related("model").get()


def test_a_round_is_kept_for_its_replay_window(mesh, members):
    end_round_days_ago(mesh, 29)
    with nothing_changes():
        assert services.shred_old_rounds() == []


def test_a_round_is_shredded_after_its_replay_window(mesh, members):
    round_ = end_round_days_ago(mesh, 31)
    versions = below("versions")
    assert services.shred_old_rounds() == [round_]
    assert not keys.key_store().exists(round_.staging_kid)
    assert below("staged") == below("inbox") == []
    assert below("versions") == versions
    round_.refresh_from_db()
    assert round_.shredded_at is not None
    assert set(Update.objects.values_list("state", "staged_key")) == {("aggregated", None)}
    detail = {"kid": round_.staging_kid}
    for kind in ("round.shredding_begun", "round.shredded"):
        assert audit.read_detail(log.entries_of_type(kind).get()) == detail


def test_a_shredded_round_is_not_shredded_again(mesh, members):
    round_ = end_round_days_ago(mesh, 31)
    services.shred_old_rounds()
    with nothing_changes():
        assert services.shred_old_rounds() == []
    shredding.shred_round(round_)
    assert log.entries_of_type("round.shredded").count() == 1


def test_a_shredding_that_was_interrupted_is_finished(mesh, members, monkeypatch):
    round_ = end_round_days_ago(mesh, 31)

    def crash(_):
        raise ZeroDivisionError

    with monkeypatch.context() as fault:
        fault.setattr(stores, "delete_envelope", crash)
        assert services.shred_old_rounds() == []
    assert not keys.key_store().exists(round_.staging_kid)
    assert services.shred_old_rounds() == [round_]
    assert below("inbox") == []


def test_a_round_that_cannot_be_shredded_does_not_keep_the_others(mesh, members, caplog):
    stuck = end_round_days_ago(mesh, 31)
    other = services.open_round(stuck.model)
    services.abandon_round(other, actor="test", reason="test")
    Round.objects.filter(pk=other.pk).update(ended_at=timezone.now() - timedelta(days=31))
    envelope = stores.envelope_path(members[0].body_sha256)
    cannot_be_destroyed(envelope)
    assert services.shred_old_rounds() == [other]
    assert "IsADirectoryError" in caplog.text
    assert not keys.key_store().exists(other.staging_kid)
    can_be_destroyed_again(envelope)
    assert services.shred_old_rounds() == [stuck]


def test_what_was_shredded_can_not_be_read_though_a_copy_of_the_file_was_kept(mesh, members):
    [first, _] = members
    round_ = end_round_days_ago(mesh, 31)
    first.refresh_from_db()
    path = stores.staged_path(round_.pk, first.pk, 1)
    copy = path.read_bytes()
    services.shred_old_rounds()
    path.parent.mkdir(parents=True)
    path.write_bytes(copy)
    Update.objects.filter(pk=first.pk).update(staged_key=first.staged_key)
    with selectors.staged_matrix(round_, [first.pk]) as matrix, pytest.raises(keys.KeyMissingError):
        matrix.open_segment(0, 0, None)


def test_a_round_that_was_called_off_before_it_opened_is_shredded_too(mesh):
    model = mesh.make_model(opened=False, replay_window_days=0)
    round_ = services.open_round(model, opens_at=timezone.now() + timedelta(hours=1))
    services.abandon_round(round_, actor="test", reason="test")
    Round.objects.update(ended_at=F("ended_at") - timedelta(seconds=1))
    assert [found.pk for found in services.shred_old_rounds()] == [round_.pk]


def test_a_round_that_has_not_ended_is_never_shredded(members):
    Round.objects.update(policy=Round.objects.get().policy | {"replay_window_days": 0}, state="failed")
    with nothing_changes():
        assert services.shred_old_rounds() == []


# --- scratch ----------------------------------------------------------------------------------------------------------------


def test_each_place_where_partial_files_are_made_is_swept(mesh, joined, holdout, monkeypatch):
    made = set()
    real, publish = stores.partial_file, stores.publish_file
    monkeypatch.setattr(stores, "partial_file", lambda directory: made.add(directory) or real(directory))

    def on_another_file_system(file, target):
        if Path(file.name).parent == stores.scratch():
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        publish(file, target)

    submit(joined("alpha"))
    # new weights are moved to where they belong, or copied there from another file system
    monkeypatch.setattr(stores, "publish_file", on_another_file_system)
    mesh.finish_round()
    version = ModelVersion.objects.latest("number")
    versions.verify(version)
    assert version.number == 1
    services.set_gate(version.model, services.GateRequest(holdout), actor="test", reason="we look first")
    # those of a run go with it
    assert {directory for directory in made if directory.parent.name != "runs"} == set(shredding.partial_directories())


@pytest.mark.parametrize("place", ["scratch", "staged", "inbox", "versions", "holdouts"])
def test_partial_files_of_killed_processes_are_removed_after_a_day(mesh, members, place):
    directory = stores.inbox().parent / place
    directory.mkdir(exist_ok=True)
    old, young = (directory / f"{name}{stores.PARTIAL_SUFFIX}" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"sealed")
    a_day_ago = time.time() - shredding.SCRATCH_SECONDS - 1
    os.utime(old, (a_day_ago, a_day_ago))
    kept = [name for name in files() if not name.endswith("old.part")]
    assert services.sweep_scratch() == 1
    assert list(files()) == kept


def test_a_partial_file_that_vanishes_during_the_sweep_is_no_matter(mesh, monkeypatch):
    path = stores.inbox()
    path.mkdir(parents=True)
    (path / "dangling.part").symlink_to(path / "nowhere")
    assert services.sweep_scratch() == 0


# --- a client leaves --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["open", "sealed"])
@pytest.mark.parametrize("stage", ["received", "processing", "staged", "rejected", "stalled", "quarantined"])
def test_before_the_freeze_an_erased_client_takes_its_update_and_its_bytes_along(joined, state, stage):
    mine, other = submit(joined("alpha")), submit(joined("beta"))
    if stage == "processing":
        leases.claim(mine.pk)
    elif stage != "received":
        services.process_update(mine.pk)
        Update.objects.filter(pk=mine.pk).update(state=stage)
    Round.objects.update(state=state)
    leave("alpha")
    mine.refresh_from_db()
    assert (mine.state, mine.claims, mine.examples, mine.norm, mine.staged_key, mine.lease_token) == (
        "erased",
        *[None] * 5,
    )
    assert not stores.envelope_path(mine.body_sha256).exists()
    assert stores.envelope_is_intact(other.body_sha256)
    assert not [name for name in below("staged") if mine.pk in name]
    assert Update.objects.get(pk=other.pk).state == "received"


def test_an_erased_update_is_in_no_version(mesh, members):
    leave("alpha")
    mesh.finish_round()
    round_ = Round.objects.get()
    assert (round_.state, round_.version.members) == ("published", 1)
    assert set(Update.objects.values_list("state", flat=True)) == {"erased", "aggregated"}


def test_a_worker_that_is_at_an_update_when_its_client_leaves_stages_nothing(joined, monkeypatch):
    update = submit(joined("alpha"))
    from apps.rounds.services import ingest

    real = ingest.accept

    def leave_first(row, lease, staged):
        leave("alpha")
        real(row, lease, staged)

    monkeypatch.setattr(ingest, "accept", leave_first)
    services.process_update(update.pk)
    assert Update.objects.get().state == "erased"
    assert below("staged") == below("inbox") == []


def recorded(update):
    """What the decision of its run says of an update."""
    (row,) = [row for row in Run.objects.get().decision["members"] if row["update_id"] == update.pk]
    return row


@pytest.mark.parametrize("state", ["frozen", "aggregating", "failed"])
def test_after_the_freeze_the_membership_stays_until_the_round_has_ended(mesh, members, state):
    services.seal_round(Round.objects.get(), actor="system")
    services.advance_round(Round.objects.get().pk)
    Round.objects.update(state=state)
    leave("alpha")
    assert set(Update.objects.values_list("state", flat=True)) == {"staged"}
    assert services.erase_leftovers() == 0
    Round.objects.update(state="frozen")
    mesh.work()
    assert Round.objects.get().version.members == 2
    assert services.erase_leftovers() == 1
    mine, other = (Update.objects.get(pk=update.pk) for update in members)
    assert (mine.state, mine.staged_key, mine.claims, mine.version) == ("aggregated", None, None, other.version)
    assert mine.share == other.share
    of_mine, of_other = recorded(mine), recorded(other)
    assert (of_mine["norm"], of_mine["examples"]) == (None, None)
    assert (of_other["norm"], of_other["examples"]) == (repr(other.norm), other.examples)
    assert of_mine["weight"] == of_other["weight"]
    assert not stores.envelope_path(mine.body_sha256).exists()
    assert stores.envelope_is_intact(other.body_sha256)
    assert other.staged_key is not None
    assert services.erase_leftovers() == 0


def test_what_an_erased_client_sent_in_a_published_round_is_destroyed_and_the_version_stays(mesh, members):
    mesh.finish_round()
    version = below("versions")
    leave("beta")
    kept, erased = (Update.objects.get(pk=update.pk) for update in members)
    assert (erased.state, erased.staged_key, erased.norm) == ("aggregated", None, None)
    assert recorded(erased)["norm"] is None
    assert (kept.state, kept.staged_key is None) == ("aggregated", False)
    assert not stores.envelope_path(erased.body_sha256).exists()
    assert [name for name in below("staged") if erased.pk in name] == []
    assert below("versions") == version


def test_an_erasure_that_is_rolled_back_erases_nothing(members, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("apps.clients.services.erasure.revoke_keys", fail)
    with nothing_changes(), pytest.raises(ZeroDivisionError):
        leave("alpha")


def test_erasing_a_client_that_never_sent_anything_touches_no_update(members, joined):
    joined("gamma")
    before = list(Update.objects.order_by("pk").values_list("pk", "state"))
    leave("gamma")
    assert list(Update.objects.order_by("pk").values_list("pk", "state")) == before
