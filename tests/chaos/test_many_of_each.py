"""More than one of each process, and none for hours: what is due is decided in the database."""

from contextlib import ExitStack

import pytest

from local_stack import programs
from tests.chaos.extra_programs import connected, extra
from tests.chaos.faults import held_log_entry, kill, kill_server, paused
from tests.chaos.invariants import ROUND, check_invariants
from tests.chaos.senders import one_hot_senders, random_senders, send_all
from tests.integration.running_mesh import PREFIX

pytestmark = [pytest.mark.processes, pytest.mark.long]

RECONCILERS = ("reconciler-1", "reconciler-2", "reconciler-3")
BEATS = ("beat-1", "beat-2")
WAITING = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def test_three_reconcilers_do_everything_at_once_and_each_step_once(mesh, model, parameters):
    senders = random_senders(parameters, seed=31)
    for name in ("worker", "beat", "reconciler"):
        kill(mesh, name)
    # without Redis each of them does all the work itself
    kill_server(mesh, mesh.redis.process)
    with ExitStack() as extras:
        for name in RECONCILERS:
            extras.enter_context(extra(mesh, programs.reconciler(), name=name))
        mesh.until(lambda: all(connected(mesh, name) for name in RECONCILERS), "three reconcilers look")
        send_all(mesh, model, senders[:3])
        with held_log_entry(mesh, "round.sealed"):
            # the fourth does not come; the deadline does
            mesh.rows("UPDATE rounds_round SET closes_at = now() WHERE id = %s RETURNING 1", mesh.value(ROUND, model))
            mesh.until(
                lambda: {name for (name,) in mesh.rows(WAITING)} >= set(RECONCILERS), "all three are about to seal it"
            )
            assert mesh.round_state(model) == "open"
        check_invariants(mesh, model, senders[:3])
        assert all(mesh.processes[name].is_running() for name in RECONCILERS)
    mesh.mend()


def test_two_beats_ring_and_each_step_is_taken_once(mesh, model, parameters):
    senders = one_hot_senders(parameters)
    for name in ("beat", "reconciler"):
        kill(mesh, name)
    with ExitStack() as extras:
        for name in BEATS:
            extras.enter_context(extra(mesh, programs.beat(), name=name))
        mesh.until(lambda: all(connected(mesh, name) for name in BEATS), "two beats look at the schedule")
        for other in BEATS:
            with paused(mesh, other):
                mesh.wait_for_worker()
        send_all(mesh, model, senders)
        check_invariants(mesh, model, senders)
        assert all(mesh.processes[name].is_running() for name in BEATS)
    mesh.mend()


LATE = "interval '7 hours'"
HOURS_AGO = (
    f"UPDATE rounds_round SET opens_at = opens_at - {LATE}, closes_at = now() - {LATE} WHERE id = %s RETURNING 1",
    f"UPDATE rounds_update SET next_kick_at = next_kick_at - {LATE} WHERE round_id = %s RETURNING 1",
)
ALL_HOURS_AGO = (
    f"UPDATE django_celery_beat_periodictask SET last_run_at = now() - {LATE} RETURNING 1",
    f"UPDATE aggregation_heartbeat SET at = at - {LATE} RETURNING 1",
)


def test_beat_was_dead_for_seven_hours_and_so_was_the_reconciler(mesh, model, parameters):
    # one too few to seal the round before its deadline
    senders = one_hot_senders(parameters)[:3]
    for name in ("beat", "reconciler", "worker"):
        kill(mesh, name)
    send_all(mesh, model, senders)
    round_id = mesh.value(ROUND, model)
    assert [len(mesh.rows(query, round_id)) for query in HOURS_AGO] == [1, 3]
    assert all(mesh.rows(query) for query in ALL_HOURS_AGO)
    with mesh.broker() as broker:
        # what was sent seven hours ago is not there any more
        broker.delete(f"{PREFIX}ingest", f"{PREFIX}control")
    assert mesh.update_states(model) == ["received"] * 3
    for name in ("worker", "beat"):
        mesh.start_program(name)
    check_invariants(mesh, model, senders)
    assert not mesh.processes["reconciler"].is_running()
