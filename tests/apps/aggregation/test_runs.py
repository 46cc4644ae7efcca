"""Runs that are lost, late, doubled or damaged: one version a round, of intact members, whatever happened on the way."""

import errno
import os
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.db.models.functions import Now

from apps import dispatch
from apps.aggregation import services, tasks
from apps.aggregation.models import Run, Shard
from apps.aggregation.services import membership, publication, runs
from apps.audit import selectors as log
from apps.audit import services as audit
from apps.keys import services as keys
from apps.rounds import stores, versions
from apps.rounds.models import ModelVersion, Round, Update
from boltz_core.aggregation import decision
from boltz_core.aggregation.errors import AggregationError
from boltz_protocol.errors import NotNowError
from tests.apps.aggregation.wide_rounds import SHARDS, lose, members_of, run_of, weights_of
from tests.apps.together import together
from tests.apps.unchanged import files, nothing_changes


@pytest.fixture
def frozen(wide, several_shards):
    """A frozen round of two members in three shards."""
    return wide.freeze(wide.vectors(2))


def combine_all(run):
    for number in range(run.shards):
        services.combine_shard(run.pk, number)


def finish(round_):
    """What the workers do with the newest run."""
    run = run_of(round_)
    combine_all(run)
    services.finish_run(run.pk)
    round_.refresh_from_db()
    return round_


def staged(update):
    return stores.staged_path(update.round_id, update.pk, update.staged_attempt)


def step_files():
    return [name for name in files() if name.startswith("runs/")]


# --- one run at a time ------------------------------------------------------------------------------------------------------


def test_a_frozen_round_gets_a_run_and_a_message_for_each_shard(frozen, messages):
    messages.clear()
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    frozen.refresh_from_db()
    assert (frozen.state, frozen.fence, run.fence, run.shards, run.members) == ("aggregating", 1, 1, SHARDS, 2)
    assert messages == [("aggregation.combine_shard", run.pk, number) for number in range(SHARDS)]
    begun = audit.read_detail(log.entries_of_type("run.begun").get())
    digest = decision.Decision.from_record(run.decision).digest
    assert begun == {"fence": 1, "members": 2, "shards": SHARDS, "decision_sha256": digest}


def test_a_run_that_is_alive_is_left_alone(frozen):
    services.aggregate_round(frozen.pk)
    with nothing_changes():
        tasks.aggregate_round(frozen.pk)


@pytest.mark.parametrize("state", ["scheduled", "open", "sealed", "published", "abandoned", "failed"])
def test_a_round_in_another_state_gets_no_run(frozen, state):
    Round.objects.update(state=state)
    with nothing_changes():
        services.aggregate_round(frozen.pk)


def test_a_body_that_runs_many_times_publishes_once(frozen):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    tasks.combine_shard(run.pk, 0)
    combine_all(run)
    tasks.finish_run(run.pk)
    with nothing_changes():
        for _ in range(3):
            tasks.finish_run(run.pk)
            services.aggregate_round(frozen.pk)
            combine_all(run)
    assert ModelVersion.objects.filter(model=frozen.model).count() == 2
    assert log.entries_of_type("round.published").count() == 1


def test_a_body_that_comes_before_the_last_shard_does_nothing(frozen):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    for number in (0, 2):
        services.combine_shard(run.pk, number)
    with nothing_changes():
        services.finish_run(run.pk)
    services.combine_shard(run.pk, 1)
    services.finish_run(run.pk)
    frozen.refresh_from_db()
    assert frozen.state == "published"


def test_a_published_round_has_its_members_shares_and_version(frozen):
    services.aggregate_round(frozen.pk)
    finish(frozen)
    assert {update.state for update in members_of(frozen)} == {"aggregated"}
    assert {update.version for update in members_of(frozen)} == {frozen.version}
    assert run_of(frozen).state == "published"
    assert (frozen.version.members, frozen.ended_at is not None) == (2, True)
    published = audit.read_detail(log.entries_of_type("round.published").get())
    assert (published["weights_sha256"], published["fence"]) == (frozen.version.weights_sha256, 1)


def test_the_combined_ranges_do_not_outlive_the_run(frozen):
    services.aggregate_round(frozen.pk)
    combine_all(run_of(frozen))
    assert len(step_files()) == SHARDS
    services.finish_run(run_of(frozen).pk)
    assert step_files() == []
    assert Shard.objects.count() == SHARDS


# --- lost runs --------------------------------------------------------------------------------------------------------------


def test_a_lost_run_is_taken_over_when_its_lease_has_run_out(frozen):
    services.aggregate_round(frozen.pk)
    first = run_of(frozen)
    services.combine_shard(first.pk, 0)
    lose(first)
    services.aggregate_round(frozen.pk)
    second = run_of(frozen)
    first.refresh_from_db()
    assert (first.state, second.state, second.fence) == ("superseded", "running", 2)
    assert finish(frozen).state == "published"
    assert str(second) == f"run 2 of {frozen}"


def test_a_run_that_was_taken_over_can_do_nothing_more(frozen):
    services.aggregate_round(frozen.pk)
    first = run_of(frozen)
    combine_all(first)
    lose(first)
    services.aggregate_round(frozen.pk)
    with nothing_changes():
        services.finish_run(first.pk)
        services.combine_shard(first.pk, 0)
        assert not publication.publish(first, "0" * 64, 1, 0.0)


def test_a_run_that_is_taken_over_while_it_finishes_publishes_nothing(frozen, monkeypatch):
    services.aggregate_round(frozen.pk)
    first = run_of(frozen)
    combine_all(first)
    real = publication.write_version

    def overtaken(run, results):
        written = real(run, results)
        lose(first)
        services.aggregate_round(frozen.pk)
        return written

    monkeypatch.setattr(publication, "write_version", overtaken)
    services.finish_run(first.pk)
    monkeypatch.undo()
    frozen.refresh_from_db()
    assert (frozen.state, frozen.fence) == ("aggregating", 2)
    assert ModelVersion.objects.filter(model=frozen.model).count() == 1


def test_a_run_whose_round_has_ended_is_not_finished_again_and_again(frozen):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    combine_all(run)
    Round.objects.update(state="abandoned")
    services.finish_run(run.pk)
    run.refresh_from_db()
    assert run.state == "superseded"
    assert ModelVersion.objects.filter(model=frozen.model).count() == 1


def test_a_shard_of_a_run_that_ends_meanwhile_is_thrown_away(frozen, monkeypatch):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    real = runs.combine.combine_range

    def late(*arguments):
        step = real(*arguments)
        Run.objects.filter(pk=run.pk).update(state="superseded")
        return step

    monkeypatch.setattr(runs.combine, "combine_range", late)
    services.combine_shard(run.pk, 0)
    publication.sweep_shards()
    assert step_files() == []
    assert Run.objects.get(pk=run.pk).state == "superseded"


def test_combining_stops_when_the_run_has_ended(frozen, settings):
    settings.BOLTZ_LEASE_SECONDS = 0.001
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    opened = []
    open_segment = runs.renewing(run, lambda *arguments: opened.append(arguments))
    deadline = time.monotonic() + 5
    Run.objects.update(state="superseded")

    def combine():
        while time.monotonic() < deadline:
            open_segment(0, 0, np.empty(1))

    with pytest.raises(runs.RunEndedError):
        combine()


def test_the_lease_of_a_run_is_renewed_while_a_shard_is_combined(frozen, settings):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    settings.BOLTZ_LEASE_SECONDS = 0.001
    open_segment = runs.renewing(run, lambda *_: None)
    settings.BOLTZ_LEASE_SECONDS = 3600
    deadline = time.monotonic() + 5
    while run_of(frozen).lease_expires_at == run.lease_expires_at and time.monotonic() < deadline:
        open_segment(0, 0, np.empty(1))
    assert run_of(frozen).lease_expires_at > run.lease_expires_at + timedelta(minutes=50)


def lose_all_attempts(round_, settings):
    for _ in range(settings.BOLTZ_MAX_ATTEMPTS):
        services.aggregate_round(round_.pk)
        lose(run_of(round_))
    services.aggregate_round(round_.pk)
    round_.refresh_from_db()


def test_a_round_whose_runs_are_lost_again_and_again_fails_and_waits_for_an_operator(frozen, settings):
    lose_all_attempts(frozen, settings)
    assert (frozen.state, frozen.reason, frozen.fence) == ("failed", "5 runs were lost", 5)
    assert log.entries_of_type("round.failed").count() == 1
    assert {update.state for update in members_of(frozen)} == {"staged"}
    with nothing_changes():
        services.aggregate_round(frozen.pk)


def test_a_failed_round_is_run_again_by_an_operator(frozen, settings, messages):
    lose_all_attempts(frozen, settings)
    frozen_at = frozen.frozen_at
    messages.clear()
    services.run_again(frozen, actor="operator_x")
    assert ("aggregation.aggregate_round", frozen.pk) in messages or frozen.state == "aggregating"
    services.aggregate_round(frozen.pk)
    frozen.refresh_from_db()
    assert (frozen.state, frozen.reason, frozen.frozen_at) == ("aggregating", "", frozen_at)
    assert log.entries_of_type("round.run_again").get().actor == "operator_x"
    assert finish(frozen).state == "published"
    assert frozen.version.members == 2


def test_a_failed_round_that_is_run_again_has_all_its_attempts_anew(frozen, settings):
    lose_all_attempts(frozen, settings)
    services.run_again(frozen, actor="operator_x")
    for _ in range(settings.BOLTZ_MAX_ATTEMPTS):
        services.aggregate_round(frozen.pk)
        assert run_of(frozen).state == "running"
        lose(run_of(frozen))
    services.aggregate_round(frozen.pk)
    frozen.refresh_from_db()
    assert frozen.state == "failed"


@pytest.mark.parametrize("state", ["published", "abandoned", "scheduled"])
def test_a_round_that_has_nothing_to_aggregate_is_not_run_again(frozen, state):
    Round.objects.update(state=state)
    frozen.refresh_from_db()
    with nothing_changes(), pytest.raises(NotNowError) as refused:
        services.run_again(frozen, actor="operator_x")
    assert refused.value.code == "round_not_open"


# --- damage on our disk -----------------------------------------------------------------------------------------------------


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[:80_000]),
    "gone": lambda path: path.unlink(),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_member_that_was_damaged_on_our_disk_is_removed_and_the_round_goes_on(wide, several_shards, damage):
    vectors = wide.vectors(3)
    round_ = wide.freeze(vectors)
    victim = members_of(round_)[1]
    damage(staged(victim))
    services.aggregate_round(round_.pk)
    first = run_of(round_)
    combine_all(first)
    first.refresh_from_db()
    assert first.state == "failed"
    assert finish(round_).state == "published"
    assert (round_.fence, round_.version.members) == (2, 2)
    victim.refresh_from_db()
    assert (victim.state, victim.code, victim.share, victim.version) == ("expired", "server_fault", None, None)
    removed = log.entries_of_type("member.removed").get()
    assert (removed.subject, audit.read_detail(removed)["upload_id"]) == (victim.client.pseudonym, victim.pk)
    assert np.linalg.norm(weights_of(round_)) == pytest.approx(round_.version.step_norm, rel=1e-6)
    assert sum(update.share for update in members_of(round_) if update.share) == pytest.approx(1)


def test_a_key_that_does_not_open_removes_its_member(frozen):
    victim = members_of(frozen)[0]
    Update.objects.filter(pk=victim.pk).update(staged_key=b"\0" * 60)
    services.aggregate_round(frozen.pk)
    combine_all(run_of(frozen))
    assert finish(frozen).version.members == 1


def test_segments_of_another_update_do_not_pass_for_those_of_a_member(frozen):
    first, second = members_of(frozen)
    staged(second).write_bytes(staged(first).read_bytes())
    services.aggregate_round(frozen.pk)
    combine_all(run_of(frozen))
    assert finish(frozen).version.members == 1
    assert Update.objects.get(pk=second.pk).state == "expired"


def test_a_round_that_falls_below_its_quorum_by_damage_is_abandoned(wide):
    round_ = wide.freeze(wide.vectors(2), quorum=2)
    staged(members_of(round_)[0]).unlink()
    services.aggregate_round(round_.pk)
    round_.refresh_from_db()
    assert (round_.state, round_.reason) == ("abandoned", "1 intact updates are left; the quorum is 2")
    assert {update.state for update in members_of(round_)} == {"expired"}
    assert ModelVersion.objects.filter(model=round_.model).count() == 1
    assert not Run.objects.filter(state="running").exists()


def test_members_whose_files_are_all_gone_go_together(wide):
    """Many lost files cost one run, not one each."""
    round_ = wide.freeze(wide.vectors(4))
    for update in members_of(round_)[:3]:
        staged(update).unlink()
    services.aggregate_round(round_.pk)
    round_.refresh_from_db()
    assert (round_.state, round_.fence, round_.version.members) == ("published", 2, 1)
    assert log.entries_of_type("member.removed").count() == 3


@pytest.fixture
def away(frozen):
    """A disk that is away for a while, and how to bring it back."""
    there = stores.staged_directory(frozen.pk)
    moved = there.rename(there.with_name("away"))
    return lambda: moved.rename(there)


def test_a_disk_that_is_away_costs_no_member_and_the_round_waits_for_an_operator(frozen, away, settings):
    for _ in range(settings.BOLTZ_MAX_ATTEMPTS):
        services.aggregate_round(frozen.pk)
        with pytest.raises(membership.StagingLostError):
            services.combine_shard(run_of(frozen).pk, 0)
        lose(run_of(frozen))
    services.aggregate_round(frozen.pk)
    frozen.refresh_from_db()
    assert frozen.state == "failed"
    assert {update.state for update in members_of(frozen)} == {"staged"}
    away()
    services.run_again(frozen, actor="operator_x")
    services.aggregate_round(frozen.pk)
    assert finish(frozen).version.members == 2


@pytest.mark.parametrize("name", ["open", "preadv"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.ESTALE])
def test_a_file_that_cannot_be_read_just_now_costs_no_member(frozen, monkeypatch, name, number):
    services.aggregate_round(frozen.pk)
    with monkeypatch.context() as fault:
        fault.setattr(stores.os, name, raises(OSError(number, "not now")))
        with pytest.raises(OSError, match="not now"):
            services.combine_shard(run_of(frozen).pk, 0)
    assert {update.state for update in members_of(frozen)} == {"staged"}
    assert finish(frozen).version.members == 2


def test_a_member_whose_sectors_cannot_be_read_is_removed(frozen, monkeypatch):
    services.aggregate_round(frozen.pk)
    real, failures = stores.os.preadv, [OSError(errno.EIO, "Input/output error")]

    def failing(*arguments):
        if failures:
            raise failures.pop()
        return real(*arguments)

    monkeypatch.setattr(stores.os, "preadv", failing)
    combine_all(run_of(frozen))
    assert finish(frozen).version.members == 1
    expired = Update.objects.get(round=frozen, state="expired")
    assert (expired.code, expired.decided_at is not None) == ("server_fault", True)


def test_a_base_version_that_rots_after_it_was_verified_is_not_published_again(frozen):
    """Same size, same time: only its bytes say so. The round waits for an operator, who brings the file back."""
    services.aggregate_round(frozen.pk)
    path = Path(versions.storage().path(frozen.base.storage_name()))
    versions.verify(frozen.base)
    whole, stamp = path.read_bytes(), path.stat()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    before = files()
    for number in range(SHARDS):
        services.combine_shard(run_of(frozen).pk, number)
    services.finish_run(run_of(frozen).pk)
    frozen.refresh_from_db()
    assert (frozen.state, run_of(frozen).state) == ("failed", "failed")
    assert "have changed on disk" in frozen.reason
    assert {name for name in files() if name.startswith("versions/")} <= set(before)
    path.write_bytes(whole)
    services.run_again(frozen, actor="operator_x")
    services.aggregate_round(frozen.pk)
    assert finish(frozen).version.members == 2


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-4])])
def test_a_base_version_that_is_missing_or_cut_fails_the_round(frozen, damage):
    services.aggregate_round(frozen.pk)
    for number in range(SHARDS):
        services.combine_shard(run_of(frozen).pk, number)
    damage(Path(versions.storage().path(frozen.base.storage_name())))
    services.finish_run(run_of(frozen).pk)
    frozen.refresh_from_db()
    assert (frozen.state, ModelVersion.objects.filter(model=frozen.model).count()) == ("failed", 1)


def test_weights_that_nobody_published_are_swept_after_a_day(frozen, monkeypatch):
    vector = np.full(frozen.model.parameters, 7, np.float32)
    sha256, _ = versions.write_weights(frozen.model.tensor_layout(), [memoryview(vector).cast("B")])
    path = Path(versions.storage().path(versions.storage_name(sha256)))
    monkeypatch.setattr(versions.secrets, "randbelow", lambda _: int(sha256[:2], 16))
    assert versions.sweep_unpublished() == 0
    os.utime(path, (time.time() - 90_000,) * 2)
    assert versions.sweep_unpublished() == 1
    assert not path.exists()


def test_weights_of_a_version_are_never_swept(frozen, monkeypatch):
    path = Path(versions.storage().path(frozen.base.storage_name()))
    os.utime(path, (0, 0))
    monkeypatch.setattr(versions.secrets, "randbelow", lambda _: int(frozen.base.weights_sha256[:2], 16))
    assert versions.sweep_unpublished() == 0
    assert path.exists()


def test_a_staging_key_that_is_away_costs_no_member(frozen, monkeypatch):
    """The key directory was not mounted, say; destroying the key for good is what shredding does."""
    services.aggregate_round(frozen.pk)
    with monkeypatch.context() as unmounted:
        unmounted.setattr(keys.key_store(), "_directory", stores.inbox())
        with pytest.raises(keys.KeyMissingError):
            services.combine_shard(run_of(frozen).pk, 0)
    assert {update.state for update in members_of(frozen)} == {"staged"}
    assert finish(frozen).version.members == 2


def test_damage_found_by_a_run_that_was_taken_over_removes_nobody(frozen):
    services.aggregate_round(frozen.pk)
    first = run_of(frozen)
    lose(first)
    services.aggregate_round(frozen.pk)
    with nothing_changes():
        membership.remove_damaged(first, stores.DamagedMemberError(members_of(frozen)[0].pk, "damaged"))


def test_damage_found_twice_removes_a_member_once(frozen):
    victim = members_of(frozen)[0]
    staged(victim).unlink()
    services.aggregate_round(frozen.pk)
    first = run_of(frozen)
    error = stores.DamagedMemberError(victim.pk, "damaged")
    membership.remove_damaged(first, error)
    with nothing_changes():
        membership.remove_damaged(first, error)


def test_a_body_under_way_does_not_publish_a_member_that_is_being_removed(frozen, monkeypatch):
    """Between the removal and the next run nobody else has the fence yet."""
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    combine_all(run)
    real = publication.write_version

    def removed_meanwhile(*arguments):
        written = real(*arguments)
        membership.remove_damaged(run, stores.DamagedMemberError(members_of(frozen)[0].pk, "damaged"))
        return written

    monkeypatch.setattr(publication, "write_version", removed_meanwhile)
    services.finish_run(run.pk)
    monkeypatch.undo()
    frozen.refresh_from_db()
    assert (frozen.state, frozen.fence) == ("aggregating", 1)
    services.aggregate_round(frozen.pk)
    assert finish(frozen).version.members == 1


def test_a_member_that_is_not_staged_any_more_is_never_published(frozen):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    combine_all(run)
    Update.objects.filter(pk=members_of(frozen)[0].pk).update(state="rejected")
    before = frozen.model.versions.count()
    with pytest.raises(AggregationError):
        services.finish_run(run.pk)
    frozen.refresh_from_db()
    assert (frozen.state, frozen.model.versions.count()) == ("aggregating", before)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), flip, lambda path: path.write_bytes(b"")])
def test_a_combined_range_that_was_damaged_is_combined_again(frozen, damage):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    combine_all(run)
    damage(publication.shard_path(run.pk, 1))
    services.finish_run(run.pk)
    assert not Shard.objects.filter(run=run, number=1).exists()
    assert Shard.objects.filter(run=run).count() == SHARDS - 1
    frozen.refresh_from_db()
    assert frozen.state == "aggregating"
    runs.continue_run(run)
    assert finish(frozen).state == "published"


def test_a_late_body_of_a_published_run_takes_no_shard_for_damaged(frozen, monkeypatch):
    """The files of a published run are gone, and its rows stay."""
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    combine_all(run)
    real = publication.write_version

    def published_meanwhile(*arguments):
        monkeypatch.setattr(publication, "write_version", real)
        services.finish_run(run.pk)
        return real(*arguments)

    monkeypatch.setattr(publication, "write_version", published_meanwhile)
    services.finish_run(run.pk)
    assert Shard.objects.filter(run=run).count() == SHARDS
    assert ModelVersion.objects.filter(model=frozen.model).count() == 2


def test_weights_that_are_not_finite_are_never_published(frozen, monkeypatch):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    combine_all(run)
    monkeypatch.setattr(publication.server_step, "apply_step", raises(AggregationError("not finite")))
    with nothing_changes(), pytest.raises(AggregationError):
        services.finish_run(run.pk)


def raises(error):
    def raising(*_, **__):
        raise error

    return raising


def test_the_sweep_leaves_the_ranges_of_a_running_run_alone(frozen):
    services.aggregate_round(frozen.pk)
    combine_all(run_of(frozen))
    with nothing_changes():
        publication.sweep_shards()
    Run.objects.update(state="superseded")
    publication.sweep_shards()
    assert step_files() == []


# --- the broker -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dead_broker(monkeypatch):
    """Nothing can be published."""
    monkeypatch.setattr("apps.dispatch.publish", lambda *_: False)
    monkeypatch.setattr(runs.celery, "chord", raises(ConnectionError("redis is down")))


def test_a_chord_that_the_broker_does_not_take_is_done_here(frozen, dead_broker):
    services.aggregate_round(frozen.pk)
    frozen.refresh_from_db()
    assert (frozen.state, frozen.version.members) == ("published", 2)


def test_a_damaged_member_is_removed_with_the_broker_dead_too(frozen, dead_broker):
    staged(members_of(frozen)[1]).unlink()
    services.aggregate_round(frozen.pk)
    frozen.refresh_from_db()
    assert (frozen.state, frozen.version.members) == ("published", 1)


def test_what_a_run_lacks_is_sent_and_nothing_else(frozen, messages):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    services.combine_shard(run.pk, 1)
    messages.clear()
    runs.continue_run(run)
    assert messages == [("aggregation.combine_shard", run.pk, number) for number in (0, 2)]
    for number in (0, 2):
        services.combine_shard(run.pk, number)
    messages.clear()
    runs.continue_run(run)
    assert messages == [("aggregation.finish_run", run.pk)]


# --- at the same instant ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_messages_at_once_begin_one_run(wide):
    round_ = wide.freeze(wide.vectors(1))
    together(*[lambda: runs.begin_run(round_.pk)] * 3)
    assert Run.objects.count() == 1
    assert Round.objects.get().fence == 1


@pytest.mark.django_db(transaction=True)
def test_two_bodies_at_once_publish_one_version(wide, several_shards):
    round_ = wide.freeze(wide.vectors(2))
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    combine_all(run)
    assert together(*[lambda: services.finish_run(run.pk)] * 3) == [None] * 3
    assert ModelVersion.objects.count() == 2
    assert Round.objects.get().state == "published"
    assert log.entries_of_type("round.published").count() == 1
    assert Shard.objects.count() == SHARDS


@pytest.mark.django_db(transaction=True)
def test_one_shard_combined_twice_at_once_is_one_shard(wide, several_shards):
    round_ = wide.freeze(wide.vectors(2))
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    assert together(*[lambda: services.combine_shard(run.pk, 2)] * 3) == [None] * 3
    assert Shard.objects.count() == 1
    combine_all(run)
    services.finish_run(run.pk)
    assert Round.objects.get().state == "published"


def test_leases_of_runs_go_by_the_clock_of_the_database(frozen):
    services.aggregate_round(frozen.pk)
    assert Run.objects.filter(lease_expires_at__gt=Now() + timedelta(seconds=50)).exists()
    assert dispatch.AGGREGATE_ROUND == "aggregation.aggregate_round"
