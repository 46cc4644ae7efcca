"""Whatever a lost message, a killed process or a dead Redis has left behind is found, and no failure stands in another's way."""

import threading
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.db.models.functions import Now
from django.utils import timezone

from apps.aggregation import services, tasks
from apps.aggregation.management.commands import reconcile as command
from apps.aggregation.models import Heartbeat, Run
from apps.aggregation.services import publication, reconciliation, runs, shard_files
from apps.clients.models import SpentNonce
from apps.keys import services as keys
from apps.rounds import services as rounds
from apps.rounds.models import FederatedModel, Round, Update
from apps.rounds.services import freezing, ingest, key_rotation, leases, lifecycle
from tests.apps.aggregation.wide_rounds import SHARDS, lose, run_of
from tests.apps.faults import raises
from tests.apps.places import submit
from tests.apps.unchanged import nothing_changes

SECOND = timedelta(seconds=1)
PROCESS, AGGREGATE = "rounds.process_update", "aggregation.aggregate_round"
COMBINE, FINISH = "aggregation.combine_shard", "aggregation.finish_run"


@pytest.fixture
def update(place, messages):
    made = submit(place)
    messages.clear()
    return made


@pytest.fixture
def frozen(wide, several_shards, messages):
    round_ = wide.freeze(wide.vectors(2))
    messages.clear()
    return round_


@pytest.fixture
def dead_broker(monkeypatch):
    """Nothing can be published."""
    monkeypatch.setattr("apps.dispatch.publish", lambda *_: False)
    monkeypatch.setattr(runs.celery, "chord", raises(ConnectionError("redis is down")))


def time_passes(model, seconds=3600):
    """Every moment in these rows was so much earlier."""
    for row in model.objects.all():
        moments = {
            field.name: getattr(row, field.name) - timedelta(seconds=seconds)
            for field in model._meta.fields
            if field.get_internal_type() == "DateTimeField" and getattr(row, field.name)
        }
        model.objects.filter(pk=row.pk).update(**moments)


def look(messages):
    """One look of the reconciler; what it sent."""
    messages.clear()
    services.reconcile("test")
    return list(messages)


# --- updates ----------------------------------------------------------------------------------------------------------------


def test_a_message_has_half_a_minute_before_another_one_is_sent(update, messages):
    assert look(messages) == []
    time_passes(Update, 31)
    assert look(messages) == [(PROCESS, update.pk)]


def test_messages_for_the_same_update_come_at_doubling_pauses(update, messages):
    time_passes(Update)
    pauses = []
    for _ in range(8):
        assert look(messages) == [(PROCESS, update.pk)]
        assert look(messages) == []
        pauses.append(round((Update.objects.get().next_kick_at - timezone.now()).total_seconds() / 30))
        Update.objects.update(next_kick_at=Now() - SECOND)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 64]


def test_an_update_whose_worker_was_lost_is_sent_again_and_taken_over(update, messages):
    leases.claim(update.pk)
    assert look(messages) == []
    time_passes(Update, 61)
    assert look(messages) == [(PROCESS, update.pk)]
    assert look(messages) == []
    rounds.process_update(update.pk)
    assert Update.objects.values_list("state", "lost_leases").get() == ("staged", 1)


def test_an_update_whose_lease_is_renewed_is_left_alone(update, messages):
    lease = leases.claim(update.pk)
    time_passes(Update)
    leases.renew(lease)
    assert look(messages) == []


def test_a_long_backlog_does_not_delay_the_take_over_of_a_lost_worker(update, messages):
    """It had been asked for so often that the next time would be half an hour away."""
    Update.objects.update(kicks=9, next_kick_at=Now() + timedelta(minutes=30))
    leases.claim(update.pk)
    Update.objects.update(lease_expires_at=Now() - SECOND, next_kick_at=Now() - SECOND)
    assert look(messages) == [(PROCESS, update.pk)]
    assert (Update.objects.get().next_kick_at - timezone.now()).total_seconds() < 31


def test_an_update_that_was_given_back_waits_for_its_pause(update, messages):
    leases.give_back(leases.claim(update.pk), "test")
    assert look(messages) == []
    time_passes(Update, 31)
    assert look(messages) == [(PROCESS, update.pk)]


@pytest.mark.parametrize("state", ["staged", "rejected", "stalled", "expired", "erased", "aggregated", "quarantined"])
def test_an_update_that_is_decided_is_left_alone(update, messages, state):
    Update.objects.update(state=state)
    time_passes(Update)
    assert look(messages) == []


def test_two_reconcilers_send_one_message(update, messages, monkeypatch):
    time_passes(Update)
    waiting = list(reconciliation.rounds_selectors.updates_waiting())
    monkeypatch.setattr(reconciliation.rounds_selectors, "updates_waiting", lambda: waiting)
    assert look(messages) == [(PROCESS, update.pk)]
    assert look(messages) == []


def test_a_dead_broker_does_not_keep_updates_waiting(update, dead_broker):
    time_passes(Update)
    services.reconcile("test")
    assert Update.objects.get().state == "staged"


# --- rounds -----------------------------------------------------------------------------------------------------------------


def test_a_lost_seal_and_a_lost_freeze_are_found(update, messages):
    rounds.process_update(update.pk)
    Round.objects.update(closes_at=timezone.now() - SECOND)
    look(messages)
    assert Round.objects.get().state == "frozen"


def test_a_lost_opening_is_found(mesh, messages):
    model = mesh.make_model(opened=False)
    rounds.open_round(model, opens_at=timezone.now() + timedelta(hours=1))
    look(messages)
    assert Round.objects.get().state == "scheduled"
    Round.objects.update(opens_at=timezone.now() - SECOND)
    look(messages)
    assert Round.objects.get().state == "open"


def test_a_lost_message_to_aggregate_is_sent_again_at_doubling_pauses(frozen, messages):
    assert look(messages) == []
    pauses = []
    for _ in range(3):
        Round.objects.update(next_kick_at=Now() - SECOND)
        assert look(messages) == [(AGGREGATE, frozen.pk)]
        assert look(messages) == []
        pauses.append(round((Round.objects.get().next_kick_at - timezone.now()).total_seconds() / 30))
    assert pauses == [1, 2, 4]


def test_a_round_with_a_living_run_is_left_alone(frozen, messages):
    services.aggregate_round(frozen.pk)
    Round.objects.update(next_kick_at=Now() - SECOND)
    assert look(messages) == []
    lose(run_of(frozen))
    assert look(messages) == [(AGGREGATE, frozen.pk)]


def test_a_round_that_has_lost_many_runs_is_not_kept_waiting_longer_for_the_next(frozen, messages):
    """Its messages had arrived; it was what they began that was lost."""
    Round.objects.update(kicks=9, next_kick_at=Now() + timedelta(minutes=30))
    services.aggregate_round(frozen.pk)
    messages.clear()
    lose(run_of(frozen))
    Round.objects.update(next_kick_at=Now() - SECOND)
    assert look(messages) == [(AGGREGATE, frozen.pk)]
    assert (Round.objects.get().next_kick_at - timezone.now()).total_seconds() < 31


def test_lost_shards_are_sent_again_and_only_those(frozen, messages):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    services.combine_shard(run.pk, 1)
    assert look(messages) == []
    Run.objects.update(next_kick_at=Now() - SECOND)
    assert look(messages) == [(COMBINE, run.pk, 0), (COMBINE, run.pk, 2)]
    assert look(messages) == []


def test_a_lost_body_is_sent_again(frozen, messages):
    services.aggregate_round(frozen.pk)
    run = run_of(frozen)
    for number in range(SHARDS):
        services.combine_shard(run.pk, number)
    Run.objects.update(next_kick_at=Now() - SECOND)
    assert look(messages) == [(FINISH, run.pk)]


def test_the_next_round_opens_though_the_process_that_published_was_killed(mesh, place, monkeypatch, messages):
    FederatedModel.objects.update(keeps_open=True)
    submit(place)
    monkeypatch.setattr(publication, "open_rounds_due", raises(SystemExit()))
    with pytest.raises(SystemExit):
        mesh.finish_round()
    monkeypatch.undo()
    assert Round.objects.count() == 1
    services.reconcile("test")
    assert Round.objects.values_list("number", "state").first() == (2, "open")


def test_with_redis_and_beat_both_dead_the_mesh_still_moves(mesh, place, several_shards, dead_broker):
    """Only the reconciler is left, and it does all of it, one look after the other."""
    FederatedModel.objects.update(keeps_open=True)
    submit(place)
    Round.objects.update(closes_at=timezone.now() - SECOND)
    for _ in range(4):
        services.reconcile("reconciler")
        for table in (Update, Run):
            table.objects.update(next_kick_at=Now() - SECOND)
        Round.objects.filter(state="frozen").update(next_kick_at=Now() - SECOND)
    first, second = Round.objects.order_by("number")
    assert (first.state, first.version.number, second.state) == ("published", 1, "open")


# --- failures do not stand in each other's way ------------------------------------------------------------------------------


def test_one_round_that_can_not_advance_does_not_hold_up_another(mesh, messages, monkeypatch):
    for name in ("aaa", "bbb"):
        mesh.make_model(name)
    Round.objects.update(closes_at=timezone.now() - SECOND)
    real = freezing.freeze
    monkeypatch.setattr(
        lifecycle,
        "freeze",
        lambda round_: raises(ZeroDivisionError())() if round_.model.name == "aaa" else real(round_),
    )
    look(messages)
    states = dict(Round.objects.values_list("model__name", "state"))
    assert states == {"aaa": "sealed", "bbb": "abandoned"}


def test_one_update_that_can_not_be_decided_here_does_not_hold_up_another(joined, messages, dead_broker, monkeypatch):
    for name in ("alpha", "beta"):
        submit(joined(name))
    time_passes(Update)
    first, second = Update.objects.order_by("received_at").values_list("pk", flat=True)
    monkeypatch.setattr(
        rounds, "process_update", lambda pk: raises(OSError())() if pk == first else ingest.process_update(pk)
    )
    services.reconcile("test")
    assert dict(Update.objects.values_list("pk", "state")) == {first: "received", second: "staged"}


@pytest.mark.parametrize("step", ["kick_updates", "advance_rounds", "kick_rounds", "continue_runs"])
def test_a_step_of_the_reconciler_that_fails_does_not_keep_the_others_from_running(
    mesh, messages, monkeypatch, step, caplog
):
    monkeypatch.setattr(reconciliation, step, named(step, raises(ZeroDivisionError())))
    ran = []
    for other in {"kick_updates", "advance_rounds", "kick_rounds", "continue_runs"} - {step}:
        monkeypatch.setattr(reconciliation, other, named(other, lambda other=other: ran.append(other)))
    monkeypatch.setattr(rounds, "open_rounds_due", named("open_rounds_due", lambda: ran.append("open_rounds_due")))
    look(messages)
    assert len(ran) == 4
    assert step in caplog.text


TICK_STEPS = {
    "rotate_when_due": key_rotation,
    "renew_descriptors": key_rotation,
    "destroy_retired_keys": key_rotation,
    "delete_old_nonces": reconciliation.clients,
    "finish_forgetting": reconciliation.audit,
    "erase_leftovers": rounds,
    "shred_old_rounds": rounds,
    "sweep_inbox": rounds,
    "sweep_scratch": rounds,
    "sweep": shard_files,
}


@pytest.mark.parametrize("step", TICK_STEPS)
def test_a_step_of_the_tick_that_fails_does_not_keep_the_others_from_running(mesh, messages, monkeypatch, step):
    ran = []
    for name, module in TICK_STEPS.items():
        action = raises(ZeroDivisionError()) if name == step else lambda name=name: ran.append(name)
        monkeypatch.setattr(module, name, named(name, action))
    tasks.tick()
    assert ran == [name for name in TICK_STEPS if name != step]
    assert Heartbeat.objects.get().kind == "tick"


def named(name, function):
    function.__name__ = name
    return function


# --- what has no hurry ------------------------------------------------------------------------------------------------------


def test_a_tick_on_a_quiet_mesh_changes_nothing(mesh, update, messages):
    with nothing_changes():
        services.tick("test")
    assert messages == []


def test_nonces_are_deleted_a_quarter_of_an_hour_after_their_signature(update):
    kept = SpentNonce.objects.count()
    assert kept > 0
    services.tick("test")
    assert SpentNonce.objects.count() == kept
    SpentNonce.objects.update(expires_at=timezone.now() - timedelta(minutes=16))
    services.tick("test")
    assert not SpentNonce.objects.exists()


def test_the_tick_rotates_and_destroys_keys(mesh, update, settings):
    rounds.process_update(update.pk)
    old = keys.encryption_key()
    type(old).objects.filter(kid=old.kid).update(not_before=timezone.now() - timedelta(days=8))
    services.tick("test")
    type(old).objects.filter(kid=old.kid).update(not_after=timezone.now() - timedelta(days=1))
    services.tick("test")
    assert not keys.key_store().exists(old.kid)
    assert Round.objects.get().read_descriptor().encryption_key.kid == keys.encryption_key().kid


def test_a_heartbeat_is_one_row_a_kind(mesh):
    services.beat_heart("worker")
    Heartbeat.objects.update(at=Now() - timedelta(hours=1))
    services.beat_heart("worker")
    services.beat_heart("reconciler")
    assert Heartbeat.objects.count() == 2
    assert (timezone.now() - Heartbeat.objects.get(kind="worker").at).total_seconds() < 60
    assert str(Heartbeat.objects.get(kind="worker")).startswith("worker at ")


# --- the command ------------------------------------------------------------------------------------------------------------


def test_reconcile_looks_once(update, messages):
    time_passes(Update)
    call_command("reconcile")
    assert (PROCESS, update.pk) in messages
    assert Heartbeat.objects.get().kind == "reconciler"


class Stop(threading.Event):
    """Set after some looks."""

    def __init__(self, looks):
        super().__init__()
        self.waits = []
        self._looks = looks

    def wait(self, timeout=None):
        self.waits.append(timeout)
        if len(self.waits) == self._looks:
            self.set()
        return self.is_set()


@pytest.fixture
def calls(monkeypatch):
    made = []
    monkeypatch.setattr(command, "close_old_connections", lambda: None)
    for name in ("tick", "reconcile"):
        monkeypatch.setattr(command.services, name, lambda kind, name=name: made.append((name, kind)))
    return made


def test_the_loop_looks_and_rings_the_tick_as_beat_does(calls, settings):
    stop = Stop(3)
    command.reconcile_until(stop)
    assert calls == [("tick", "reconciler"), ("reconcile", "reconciler"), ("reconcile", "reconciler")]
    assert stop.waits == [settings.BOLTZ_RECONCILE_SECONDS] * 3
    calls.clear()
    settings.BOLTZ_TICK_SECONDS = 0
    command.reconcile_until(Stop(2))
    assert calls == [("tick", "reconciler")] * 2


def test_the_loop_outlives_a_database_that_is_away_for_a_while(calls, monkeypatch, caplog):
    monkeypatch.setattr(command.services, "tick", raises(OperationalError("the server closed the connection")))
    command.reconcile_until(Stop(3))
    assert calls == [("reconcile", "reconciler")] * 2
    assert "the database does not answer" in caplog.text


def test_the_loop_ends_when_it_is_asked_to(calls, monkeypatch):
    handlers = {}
    monkeypatch.setattr(command.signal, "signal", lambda number, handler: handlers.update({number: handler}))
    monkeypatch.setattr(command.services, "tick", lambda _: handlers[command.signal.SIGTERM]())
    call_command("reconcile", loop=True)
    assert set(handlers) == {command.signal.SIGTERM, command.signal.SIGINT}
