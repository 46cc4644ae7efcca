"""Messages that come twice, at once, a hundred times, or for a run that has been superseded."""

import signal
from contextlib import ExitStack

import pytest

from tests.chaos.faults import held_round, held_shards, kill, paused, resume
from tests.chaos.invariants import ROUND, check_invariants, wait_for_version
from tests.chaos.messages import messages_of
from tests.chaos.senders import one_hot_senders, random_senders, send_all

pytestmark = pytest.mark.processes


def versions(mesh, model):
    return mesh.count("SELECT 1 FROM rounds_modelversion WHERE round_id = %s", mesh.value(ROUND, model))


def test_the_end_of_a_run_comes_twice_at_once_and_again(mesh, model, parameters, send_task):
    senders = random_senders(parameters, seed=13)
    with paused(mesh, "beat", "reconciler"), ExitStack() as locks:
        with held_shards(mesh, [5]) as run_id:
            send_all(mesh, model, senders)
            mesh.until(lambda: mesh.waiting_for_a_lock("aggregation_shard"), "the last shard is about to be stored")
            locks.enter_context(held_round(mesh, model))
        # a message that came before the last shard would do nothing
        shards = "SELECT 1 FROM aggregation_shard WHERE run_id = %s"
        mesh.until(lambda: mesh.count(shards, run_id) == 12, "every shard is stored")
        for _ in range(3):
            send_task("aggregation.finish_run", run_id, queue="aggregate")
        mesh.until(lambda: len(mesh.waiting_for_a_lock("rounds_round")) == 2, "two processes are about to publish")
        assert versions(mesh, model) == 0
        locks.close()
        wait_for_version(mesh, model)
        for _ in range(20):
            send_task("aggregation.finish_run", run_id, queue="aggregate")
        mesh.until(lambda: not messages_of(mesh, "aggregation.finish_run", run_id), "every message is done")
    check_invariants(mesh, model, senders)


def test_a_run_that_was_superseded_publishes_nothing(mesh, model, parameters, send_task):
    senders = random_senders(parameters, seed=17)
    run = "SELECT 1 FROM aggregation_run WHERE id = %s"
    with paused(mesh, "beat", "reconciler"), held_shards(mesh, [5]) as run_id:
        send_all(mesh, model, senders)
        mesh.until(lambda: mesh.waiting_for_a_lock("aggregation_shard"), "a child waits to store a shard")
        mesh.processes["worker"].send_to_group(signal.SIGSTOP)
        mesh.until(lambda: mesh.count(f"{run} AND lease_expires_at < now()", run_id), "its lease runs out")
        mesh.manage("aggregate", "--model", model, "--round", "1")
        assert versions(mesh, model) == 1
        assert mesh.count(f"{run} AND state = 'superseded'", run_id)
        # the old run comes to its end, and is told to once more
        resume(mesh, "worker")
    for _ in range(3):
        send_task("aggregation.finish_run", run_id, queue="aggregate")
    mesh.until(lambda: not messages_of(mesh, "aggregation.finish_run", run_id), "every message is done")
    check_invariants(mesh, model, senders)
    assert mesh.count(f"{run} AND state = 'superseded'", run_id)


def test_a_hundred_messages_decide_an_update_once(mesh, model, parameters, send_task):
    senders = one_hot_senders(parameters)
    kill(mesh, "worker")
    upload_id = senders[0].send(mesh, model).upload_id
    for _ in range(100):
        send_task("rounds.process_update", upload_id, queue="ingest")
    assert messages_of(mesh, "rounds.process_update", upload_id) >= 100
    mesh.mend()
    mesh.until(lambda: not messages_of(mesh, "rounds.process_update", upload_id), "every message is done")
    assert mesh.rows("SELECT state, lost_leases, failures FROM rounds_update WHERE id = %s", upload_id) == [
        ("staged", 0, 0)
    ]
    send_all(mesh, model, senders[1:])
    check_invariants(mesh, model, senders)
