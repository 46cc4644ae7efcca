"""Damage on our disk: a run goes on without what is lost, is never made of it, and nobody is removed for a disk that is away."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest

from apps.aggregation import services
from apps.aggregation.models import Run, Shard
from apps.aggregation.services import combining, membership, publication, runs, shard_files
from apps.audit import selectors as log
from apps.audit import services as audit
from apps.keys import services as keys
from apps.rounds import stores, versions
from apps.rounds.models import ModelVersion, Update
from boltz_core.aggregation.errors import AggregationError
from tests.apps.aggregation.wide_rounds import (
    SHARDS,
    combine_all,
    finish,
    flip,
    lose,
    members_of,
    run_of,
    staged,
    step_files,
    weights_of,
)
from tests.apps.faults import raises
from tests.apps.unchanged import files, nothing_changes

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
    assert (round_.state, round_.reason) == ("abandoned", "1 staged updates; the quorum is 2")
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
    assert (expired.code, expired.decided_at > frozen.frozen_at) == ("server_fault", True)


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
    sha256, _ = versions.write_tensors(frozen.model.tensor_layout(), [memoryview(vector).cast("B")])
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
    damage(shard_files.path_of(run.pk, "combine", 1))
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
    monkeypatch.setattr(combining.server_step, "apply_step", raises(AggregationError("not finite")))
    # all but the lease, which is kept while a range is combined
    monkeypatch.setattr(combining.leases, "renew", lambda _run: None)
    with nothing_changes(), pytest.raises(AggregationError):
        services.combine_shard(run.pk, 0)


def test_the_sweep_leaves_the_ranges_of_a_running_run_alone(frozen):
    services.aggregate_round(frozen.pk)
    combine_all(run_of(frozen))
    with nothing_changes():
        shard_files.sweep()
    Run.objects.update(state="superseded")
    shard_files.sweep()
    assert step_files() == []
