"""Runs that are lost, late, doubled or damaged: one version a round, of intact members, whatever happened on the way."""

import time
from datetime import timedelta

import numpy as np
import pytest
from django.db.models.functions import Now

from apps.aggregation import services, tasks
from apps.aggregation.models import Run, Shard
from apps.aggregation.services import beginning, combining, leases, publication, runs
from apps.audit import selectors as log
from apps.audit import services as audit
from apps.rounds.models import ModelVersion, Round
from boltz_core.aggregation import decision
from boltz_protocol.errors import NotNowError
from tests.apps.aggregation.wide_rounds import (
    SHARDS,
    combine_all,
    finish,
    lose,
    members_of,
    run_of,
    staged,
    step_files,
)
from tests.apps.faults import raises
from tests.apps.together import together
from tests.apps.unchanged import nothing_changes

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
        assert not publication.publish(first, publication.Written("0" * 64, 1, 0.0))


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
    real = combining.combine.combine_range

    def late(*arguments):
        step = real(*arguments)
        Run.objects.filter(pk=run.pk).update(state="superseded")
        return step

    monkeypatch.setattr(combining.combine, "combine_range", late)
    services.combine_shard(run.pk, 0)
    assert step_files() == []
    assert not run.results.exists()
    assert Run.objects.get(pk=run.pk).state == "superseded"


def test_combining_stops_when_the_run_has_ended(frozen, settings):
    settings.BOLTZ_LEASE_SECONDS = 0.001
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    opened = []
    open_segment = leases.renewing(run, lambda *arguments: opened.append(arguments))
    deadline = time.monotonic() + 5
    Run.objects.update(state="superseded")

    def combine():
        while time.monotonic() < deadline:
            open_segment(0, 0, np.empty(1))

    with pytest.raises(leases.RunEndedError):
        combine()


def while_written(monkeypatch, meanwhile):
    """Have something happen after each range that is written, for longer than the lease's pause; returns the ranges."""
    real, written = publication.read_ahead, []

    def slow(*arguments):
        for block in real(*arguments):
            written.append(block)
            yield block
            over = time.monotonic() + 0.001
            meanwhile()
            while time.monotonic() < over:
                pass

    monkeypatch.setattr(publication, "read_ahead", slow)
    return written


def test_the_lease_of_a_run_is_renewed_while_its_version_is_written(frozen, settings, monkeypatch):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    combine_all(run)
    # it would run out with the first range; whoever looks then takes the run over
    settings.BOLTZ_LEASE_SECONDS = 0.001
    seen = []

    def look():
        seen.append(run_of(frozen).lease_expires_at)
        settings.BOLTZ_LEASE_SECONDS = 3600

    while_written(monkeypatch, look)
    monkeypatch.setattr(publication, "publish", lambda *_: True)
    services.finish_run(run.pk)
    assert seen[1] > seen[0] + timedelta(minutes=50)


def test_a_run_that_is_taken_over_while_its_version_is_written_stops_writing(frozen, settings, monkeypatch):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    combine_all(run)
    settings.BOLTZ_LEASE_SECONDS = 0.001
    written = while_written(monkeypatch, lambda: Run.objects.filter(pk=run.pk).update(state="superseded"))
    monkeypatch.setattr(publication, "publish", lambda *_: pytest.fail("it went on"))
    services.finish_run(run.pk)
    assert (len(written), run.shards > 1) == (1, True)
    assert ModelVersion.objects.filter(model=frozen.model).count() == 1


def test_the_lease_of_a_run_is_renewed_while_a_shard_is_combined(frozen, settings):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    settings.BOLTZ_LEASE_SECONDS = 0.001
    open_segment = leases.renewing(run, lambda *_: None)
    at_first = run_of(frozen).lease_expires_at
    settings.BOLTZ_LEASE_SECONDS = 3600
    deadline = time.monotonic() + 5
    while run_of(frozen).lease_expires_at == at_first and time.monotonic() < deadline:
        open_segment(0, 0, np.empty(1))
    assert run_of(frozen).lease_expires_at > at_first + timedelta(minutes=50)


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
    together(*[lambda: beginning.begin_run(round_.pk)] * 3)
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
