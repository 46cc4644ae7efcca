"""SIGKILL of the worker at each step that it writes into the log, and between steps; and a message that dies with it."""

import signal
from contextlib import ExitStack

import pytest

from tests.chaos.faults import (
    HeldEnvelope,
    HeldFile,
    held_log_entry,
    held_round,
    held_shards,
    kill,
    paused,
    readers,
    resume,
    signal_all,
    stopped,
)
from tests.chaos.invariants import ROUND, check_invariants
from tests.chaos.senders import one_hot_senders, random_senders, send_all
from tests.integration.running_mesh import PREFIX

pytestmark = [pytest.mark.processes, pytest.mark.long]

LAST = 12
STEPS = {
    "round.sealed": "open",
    "round.frozen": "sealed",
    "run.begun": "frozen",
    "version.published": "aggregating",
    "round.published": "aggregating",
}


def weights_files(mesh):
    return set((mesh.directory / "data" / "versions").glob("*/*"))


@pytest.mark.parametrize(("entry", "state"), STEPS.items())
def test_a_worker_killed_in_the_transaction_of_a_step(mesh, model, parameters, entry, state):
    senders = one_hot_senders(parameters)
    with paused(mesh, "beat", "reconciler"):
        with held_log_entry(mesh, entry):
            send_all(mesh, model, senders)
            mesh.until(lambda: mesh.waiting_for_a_lock("audit_logentry"), f"the worker is about to log {entry}")
            kill(mesh, "worker")
        assert mesh.round_state(model) == state
        assert mesh.count("SELECT 1 FROM audit_logentry WHERE round = %s AND type = %s", f"{model}/1", entry) == 0
    mesh.mend()
    check_invariants(mesh, model, senders)


def test_a_worker_killed_when_it_has_claimed_an_update_and_read_nothing(mesh, model, parameters):
    senders = one_hot_senders(parameters)
    with paused(mesh, "beat", "reconciler", "worker"):
        upload_id = senders[0].send(mesh, model).upload_id
        # a file, not a lock: a worker that waits for it is not cancelled after a while, and nobody else has to wait
        with HeldEnvelope(mesh, upload_id, 0) as envelope:
            resume(mesh, "worker")
            mesh.until(lambda: readers(mesh, "worker", envelope.path), "the worker is about to read the envelope")
            kill(mesh, "worker")
        assert mesh.rows("SELECT state, attempts FROM rounds_update WHERE id = %s", upload_id) == [("processing", 1)]
    mesh.mend()
    send_all(mesh, model, senders[1:])
    check_invariants(mesh, model, senders)
    # a busy machine may lose another one
    assert mesh.value("SELECT lost_leases FROM rounds_update WHERE id = %s", upload_id) >= 1


def test_a_worker_killed_between_the_new_weights_and_their_version(mesh, model, parameters):
    senders, before = random_senders(parameters, seed=19), weights_files(mesh)
    with paused(mesh, "beat", "reconciler"), ExitStack() as locks:
        with held_shards(mesh, [5]):
            send_all(mesh, model, senders)
            mesh.until(lambda: mesh.waiting_for_a_lock("aggregation_shard"), "the last shard is about to be stored")
            locks.enter_context(held_round(mesh, model))
        mesh.until(lambda: mesh.waiting_for_a_lock("rounds_round"), "the worker is about to publish")
        assert len(weights_files(mesh) - before) == 1
        kill(mesh, "worker")
        locks.close()
        assert mesh.count("SELECT 1 FROM rounds_modelversion WHERE round_id = %s", mesh.value(ROUND, model)) == 0
        assert mesh.round_state(model) == "aggregating"
    mesh.mend()
    check_invariants(mesh, model, senders)


def test_an_aggregator_that_wakes_late_throws_its_version_away(mesh, model, parameters):
    senders, run = random_senders(parameters, seed=23), "SELECT state FROM aggregation_run WHERE id = %s"
    with paused(mesh, "beat", "reconciler"), ExitStack() as locks:
        with held_shards(mesh, [LAST - 1]) as run_id:
            send_all(mesh, model, senders)
            mesh.until(lambda: mesh.waiting_for_a_lock("aggregation_shard"), "the last shard is about to be stored")
            held = locks.enter_context(HeldFile(shard_file(mesh, run_id, LAST - 1), 1000))
        mesh.until(lambda: scratch_files(mesh), "the aggregator has begun to write the weights")
        mesh.until(
            lambda: mesh.count(f"{run} AND lease_expires_at < now()", run_id), "the lease of the aggregator runs out"
        )
        mesh.manage("aggregate", "--model", model, "--round", "1")
        assert mesh.value(run, run_id) == "superseded"
        assert mesh.round_state(model) == "published"
        assert scratch_files(mesh), "the aggregator is still at it"
        held.give_the_rest()
        mesh.until(lambda: not scratch_files(mesh), "the aggregator has come to its end")
    check_invariants(mesh, model, senders)
    assert mesh.value(run, run_id) == "superseded"


def shard_file(mesh, run_id, number):
    return mesh.directory / "data" / "runs" / str(run_id) / f"{number}.f32"


def scratch_files(mesh):
    return list((mesh.directory / "data" / "scratch").glob("*.part"))


def test_a_message_that_dies_with_the_worker_to_which_redis_gave_it(mesh, model, parameters, send_task):
    senders = one_hot_senders(parameters)
    kill(mesh, "worker")
    with paused(mesh, "beat", "reconciler"), mesh.broker() as broker:
        upload_id = senders[0].send(mesh, model).upload_id
        mesh.until(lambda: mesh.queued("ingest") == 1, "a message waits for the update")
        broker.delete(f"{PREFIX}ingest")
        mesh.start_program("worker")
        mesh.until(lambda: is_given(mesh, broker, send_task, upload_id), "Redis gives a message to a stopped worker")
        kill(mesh, "worker")
        # it was in the buffer of a connection, which nobody can read any more
        assert broker.llen(f"{PREFIX}ingest") == 0
        assert upload_id.encode() not in b"".join(broker.hvals(f"{PREFIX}unacked"))
        assert mesh.rows("SELECT state, attempts FROM rounds_update WHERE id = %s", upload_id) == [("received", 0)]
    mesh.mend()
    send_all(mesh, model, senders[1:])
    check_invariants(mesh, model, senders)


def is_given(mesh, broker, send_task, upload_id):
    """Stop the worker while it waits for a message, then send one; undo both when it did not wait any more."""
    resume(mesh, "worker")
    mesh.until(lambda: waits_for_messages(broker), "the worker waits for messages")
    signal_all(mesh, ["worker"], signal.SIGSTOP)
    mesh.until(lambda: stopped(mesh, "worker"), "the worker stands still")
    send_task("rounds.process_update", upload_id, queue="ingest")
    return not broker.delete(f"{PREFIX}ingest")


def waits_for_messages(broker):
    return any(client["cmd"] == "brpop" and "b" in client["flags"] for client in broker.client_list())
