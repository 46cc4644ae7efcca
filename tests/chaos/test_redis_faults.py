"""Redis hangs, is full, is killed and started again, is away for a while: uploads are answered, and nothing is lost."""

import contextlib
import signal
import time

import pytest
import redis

from tests.chaos.faults import kill, kill_server, paused
from tests.chaos.invariants import check_invariants, wait_for_version
from tests.chaos.senders import enrol, one_hot_senders, random_senders, send_all

pytestmark = [pytest.mark.processes, pytest.mark.long]

# whoever waits for Redis waits for its socket timeout of 5 s, and some for two
PROMPT_SECONDS = 4.0


@contextlib.contextmanager
def hung(mesh):
    """Redis takes connections and answers nobody."""
    mesh.redis.process.send(signal.SIGSTOP)
    try:
        assert not mesh.redis_answers()
        yield
    finally:
        mesh.redis.process.send(signal.SIGCONT)


@contextlib.contextmanager
def full(mesh):
    """Redis takes nothing more."""
    with mesh.broker() as broker:
        broker.config_set("maxmemory", "1")
        try:
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                broker.set("more", "than fits")
            yield
        finally:
            broker.config_set("maxmemory", "0")


def send_promptly(mesh, model, senders):
    """Each upload is answered in less time than anybody who waited for Redis would need."""
    for sender in senders:
        began = time.monotonic()
        sender.send(mesh, model)
        assert time.monotonic() - began < PROMPT_SECONDS


def test_redis_hangs_while_uploads_arrive(mesh, model, parameters):
    senders = one_hot_senders(parameters)
    enrol(mesh, senders)
    with hung(mesh):
        send_promptly(mesh, model, senders)
        # by the reconciler: nobody else gets a message
        mesh.until(lambda: set(mesh.update_states(model)) & {"staged", "aggregated"}, "an update is decided")
    check_invariants(mesh, model, senders)
    mesh.wait_for_worker()


def test_redis_is_full(mesh, model, parameters):
    senders = random_senders(parameters, seed=29)
    enrol(mesh, senders)
    with full(mesh):
        send_promptly(mesh, model, senders)
        wait_for_version(mesh, model)
    # a worker that could not note which message it has taken ends, and whoever looks after it starts it again
    mesh.mend()
    check_invariants(mesh, model, senders)


def test_redis_killed_and_started_again_has_kept_its_messages(mesh, model, parameters):
    senders = one_hot_senders(parameters)
    kill(mesh, "worker")
    with paused(mesh, "beat", "reconciler"):
        send_all(mesh, model, senders)
        mesh.until(lambda: mesh.queued("ingest") == 4, "a message waits for each update")
        kill_server(mesh, mesh.redis.process)
        assert not mesh.redis_answers()
        mesh.restart("redis")
        assert mesh.queued("ingest") == 4
        # what is decided now is decided because of them
        mesh.start_program("worker")
        check_invariants(mesh, model, senders)


def test_redis_is_away_for_a_while_and_nobody_has_to_be_started_again(mesh, model, parameters):
    senders, before = one_hot_senders(parameters), pids(mesh)
    enrol(mesh, senders)
    kill_server(mesh, mesh.redis.process)
    send_promptly(mesh, model, senders[:2])
    mesh.until(lambda: "Connection to broker lost" in mesh.processes["worker"].log_tail(), "the worker has noticed")
    mesh.until(lambda: mesh.update_states(model) == ["staged", "staged"], "the reconciler does the work")
    mesh.restart("redis")
    send_promptly(mesh, model, senders[2:])
    check_invariants(mesh, model, senders)
    mesh.wait_for_worker()
    assert pids(mesh) == before


def pids(mesh):
    return {name: process.pid for name, process in mesh.processes.items()}
