"""SIGKILL of the worker with all its children, at steps where it holds a lease; and one that only looked dead."""

import pytest

from tests.chaos.faults import HeldEnvelope, held_shards, held_table, kill, paused, resume
from tests.chaos.invariants import ROUND, check_invariants
from tests.chaos.senders import one_hot_senders, random_senders, send_all

pytestmark = pytest.mark.processes

HALF = 400_000


def leases_lost(mesh, upload_id):
    return mesh.value("SELECT lost_leases FROM rounds_update WHERE id = %s", upload_id)


def staged_files(mesh, model):
    round_id = mesh.value(ROUND, model)
    return list((mesh.directory / "data" / "staged" / str(round_id)).glob("*"))


def partial_files(mesh):
    return set((mesh.directory / "data" / "staged").glob("*.part"))


def is_half_staged(partial):
    return any(path.stat().st_size > HALF // 2 for path in partial)


def send_the_rest(mesh, model, senders):
    """With the last one the round is full; the version follows, and with it everything that must hold."""
    send_all(mesh, model, senders[1:])
    check_invariants(mesh, model, senders)


def test_a_worker_killed_while_it_reads_an_envelope(mesh, model, parameters):
    senders, left_behind = one_hot_senders(parameters), partial_files(mesh)
    # the others stand still, so that nobody takes the lease over before the worker is killed
    with paused(mesh, "beat", "reconciler", "worker"):
        upload_id = senders[0].send(mesh, model).upload_id
        with HeldEnvelope(mesh, upload_id, HALF):
            resume(mesh, "worker")
            mesh.until(lambda: is_half_staged(partial_files(mesh) - left_behind), "half of it is staged")
            kill(mesh, "worker")
        assert mesh.update_states(model) == ["processing"]
        assert is_half_staged(partial_files(mesh) - left_behind)
    mesh.mend()
    send_the_rest(mesh, model, senders)
    assert leases_lost(mesh, upload_id) == 1


def test_a_worker_killed_before_its_decision_is_committed(mesh, model, parameters):
    senders = one_hot_senders(parameters)
    with paused(mesh, "beat", "reconciler", "worker"):
        upload_id = senders[0].send(mesh, model).upload_id
        with held_table(mesh, "audit_logentry"):
            resume(mesh, "worker")
            mesh.until(lambda: mesh.waiting_for_a_lock("audit_logentry"), "the worker is about to log its decision")
            kill(mesh, "worker")
        # the segments are on disk under their name, the decision is not
        assert mesh.update_states(model) == ["processing"]
        assert [path.name for path in staged_files(mesh, model)] == [f"{upload_id}.1"]
    mesh.mend()
    send_the_rest(mesh, model, senders)
    assert leases_lost(mesh, upload_id) == 1


def test_a_worker_killed_in_the_middle_of_a_chord(mesh, model, parameters):
    senders = random_senders(parameters, seed=7)
    with held_shards(mesh, [3, 7]) as run_id:
        send_all(mesh, model, senders)
        mesh.until(
            lambda: len(mesh.waiting_for_a_lock("aggregation_shard")) == 2, "both children wait to store a shard"
        )
        done = mesh.count("SELECT 1 FROM aggregation_shard WHERE run_id = %s", run_id)
        assert 0 < done < mesh.value("SELECT shards FROM aggregation_run WHERE id = %s", run_id) == 12
        kill(mesh, "worker")
    assert mesh.round_state(model) == "aggregating"
    mesh.mend()
    check_invariants(mesh, model, senders)


def test_a_worker_that_wakes_late_throws_its_work_away(mesh, model, parameters):
    # a worker that was killed in another test of this mesh
    senders, left_behind = one_hot_senders(parameters), partial_files(mesh)
    with paused(mesh, "worker"):
        upload_id = senders[0].send(mesh, model).upload_id
        with HeldEnvelope(mesh, upload_id, HALF) as envelope:
            resume(mesh, "worker")
            mesh.until(lambda: is_half_staged(partial_files(mesh) - left_behind), "one child waits for the second half")
            envelope.put_back()
            mesh.until(lambda: mesh.update_states(model) == ["staged"], "the other child has taken it over")
            assert leases_lost(mesh, upload_id) == 1
            envelope.give_the_rest()
            mesh.until(lambda: partial_files(mesh) <= left_behind, "the first child has come to its end")
    mesh.until(lambda: "was taken over" in mesh.processes["worker"].log_tail(), "it has noticed")
    assert [path.name for path in staged_files(mesh, model)] == [f"{upload_id}.2"]
    send_the_rest(mesh, model, senders)
