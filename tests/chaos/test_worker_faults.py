"""What can go wrong inside a worker's child: no memory, a segmentation fault, a task that never ends, an order to stop."""

import os
import resource
import signal

import pytest

from tests.chaos.extra_programs import replaced_worker
from tests.chaos.faults import HeldEnvelope, children, kill, members, paused, readers
from tests.chaos.invariants import check_invariants
from tests.chaos.senders import one_hot_senders, send_all
from tests.integration.running_mesh import PREFIX

pytestmark = [pytest.mark.processes, pytest.mark.long]

HEAD = 10_000
COUNTS = "SELECT lost_leases, failures FROM rounds_update WHERE id = %s"


def send_the_rest(mesh, model, senders):
    send_all(mesh, model, senders[1:])
    check_invariants(mesh, model, senders)


# every block of this size is asked of the kernel, and not taken from what an earlier task has left
ASK_THE_KERNEL = {"MALLOC_MMAP_THRESHOLD_": "32768"}


def test_a_task_without_memory_gives_its_update_back_and_the_worker_lives(mesh, model, parameters):
    senders, name = one_hot_senders(parameters), "worker-of-little-memory"
    with replaced_worker(mesh, name=name, settings=ASK_THE_KERNEL) as worker:
        with paused(mesh, name):
            upload_id = senders[0].send(mesh, model).upload_id
            with HeldEnvelope(mesh, upload_id, HEAD) as envelope:
                worker.send_to_group(signal.SIGCONT)
                (child,) = mesh.until(lambda: readers(mesh, name, envelope.path), "a child reads the envelope")
                limits = resource.prlimit(child, resource.RLIMIT_AS, (0, resource.RLIM_INFINITY))
                envelope.put_back()
                envelope.give_the_rest()
                mesh.until(lambda: mesh.rows(COUNTS, upload_id)[0][1] == 1, "the update is given back")
                assert "was given back: MemoryError" in worker.log.read_text()
                assert child in children(mesh, name)
                resource.prlimit(child, resource.RLIMIT_AS, limits)
        send_the_rest(mesh, model, senders)
        assert mesh.rows(COUNTS, upload_id) == [(0, 1)]
        assert child in children(mesh, name)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL], ids=["segfault", "out-of-memory-killer"])
def test_a_child_that_dies_costs_a_lease_and_not_the_worker(mesh, model, parameters, number):
    senders, worker = one_hot_senders(parameters), mesh.processes["worker"]
    with paused(mesh, "worker"):
        upload_id = senders[0].send(mesh, model).upload_id
        with HeldEnvelope(mesh, upload_id, HEAD) as envelope:
            worker.send_to_group(signal.SIGCONT)
            (child,) = mesh.until(lambda: readers(mesh, "worker", envelope.path), "a child reads the envelope")
            envelope.put_back()
            signal.pidfd_send_signal(pidfd := os.pidfd_open(child), number)
            os.close(pidfd)
            mesh.until(lambda: child not in members(worker.pid), "the child is gone")
    mesh.until(lambda: f"signal {number.value}" in worker.log_tail(), "the worker has noticed")
    send_the_rest(mesh, model, senders)
    assert worker.is_running()
    assert mesh.rows(COUNTS, upload_id) == [(1, 0)]


@pytest.mark.parametrize(
    ("hangs", "said", "counts"),
    [(False, "SoftTimeLimitExceeded", (0, 1)), (True, "Hard time limit", (1, 0))],
    ids=["soft", "hard"],
)
def test_a_task_that_never_ends_is_ended_at_its_limit(mesh, model, parameters, send_task, hangs, said, counts):
    senders = one_hot_senders(parameters)
    kill(mesh, "worker")
    with paused(mesh, "beat", "reconciler"):
        upload_id = senders[0].send(mesh, model).upload_id
        mesh.until(lambda: mesh.queued("ingest") == 1, "a message waits for the update")
        with mesh.broker() as broker:
            broker.delete(f"{PREFIX}ingest")
        with HeldEnvelope(mesh, upload_id, HEAD) as envelope:
            # 240 s and 200 s are the limits of a message that names none
            send_task("rounds.process_update", upload_id, queue="ingest", soft_time_limit=1, time_limit=2)
            mesh.start_program("worker")
            (child,) = mesh.until(lambda: readers(mesh, "worker", envelope.path), "a child reads the envelope")
            envelope.put_back()
            if hangs:
                # it gets no signal but SIGKILL
                os.kill(child, signal.SIGSTOP)
            mesh.until(lambda: said in mesh.processes["worker"].log_tail(), "the limit is reached")
    send_the_rest(mesh, model, senders)
    assert mesh.rows(COUNTS, upload_id) == [counts]


def test_a_worker_that_is_told_to_stop_finishes_what_it_has_begun(mesh, model, parameters):
    senders, worker = one_hot_senders(parameters), mesh.processes["worker"]
    with paused(mesh, "beat", "reconciler", "worker"):
        uploads = [sender.send(mesh, model).upload_id for sender in senders]
        with HeldEnvelope(mesh, uploads[0], HEAD) as first, HeldEnvelope(mesh, uploads[1], HEAD) as second:
            worker.send_to_group(signal.SIGCONT)
            mesh.until(lambda: busy(mesh, first) and busy(mesh, second), "each child reads an envelope")
            worker.send(signal.SIGTERM)
            mesh.until(lambda: "Initiating Soft Shutdown" in worker.log_tail(), "the worker has been told to stop")
            first.put_back()
            second.put_back()
            first.give_the_rest()
            second.give_the_rest()
            mesh.until(lambda: not worker.is_running(), "the worker ends by itself")
    assert worker.exit_code == 0
    # none of the two was lost or failed, and nobody has begun with the others
    assert dict(mesh.rows("SELECT id, (state, attempts) :: text FROM rounds_update WHERE id = ANY(%s)", uploads)) == {
        upload_id: "(staged,1)" if upload_id in uploads[:2] else "(received,0)" for upload_id in uploads
    }
    mesh.mend()
    check_invariants(mesh, model, senders)
    assert [mesh.rows(COUNTS, upload_id) for upload_id in uploads] == [[(0, 0)]] * 4


def busy(mesh, envelope):
    return readers(mesh, "worker", envelope.path)
