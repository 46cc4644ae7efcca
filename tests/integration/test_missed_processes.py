"""Every kind of process is seen while it is alive, and missed when it is not; servers that were away change nothing."""

import pytest

from tests.integration.running_mesh import running
from worker import heartbeats

pytestmark = pytest.mark.processes

WORKER = {"ingest-worker", "aggregate-worker", "control-worker"}
ALL = WORKER | {"beat", "reconciler", "tick"}


@pytest.fixture(scope="module")
def mesh():
    with running("--no-model", name="missed") as made:
        made.until(lambda: seen(made) == ALL, "every kind of process is seen")
        yield made


def seen(mesh):
    """The kinds of processes that were seen in the last minutes; what web says of its limits is tested with them."""
    recent = "SELECT kind FROM aggregation_heartbeat WHERE at > now() - interval '30 min' AND kind <> 'limits'"
    return {kind for (kind,) in mesh.rows(recent)}


def forget(mesh):
    """Make it an hour since anybody was seen."""
    mesh.rows("UPDATE aggregation_heartbeat SET at = now() - interval '1 hour' RETURNING kind")


def silence(mesh):
    """For how many seconds no queue's worker was seen."""
    query = "SELECT extract(epoch FROM now() - max(at)) FROM aggregation_heartbeat WHERE kind = ANY(%s)"
    return mesh.value(query, list(WORKER))


def test_a_dead_worker_is_missed_and_nobody_else(mesh):
    mesh.processes["worker"].kill()
    forget(mesh)
    mesh.until(lambda: seen(mesh) == {"beat", "reconciler"}, "the living are seen")
    mesh.restart("worker")
    mesh.until(lambda: seen(mesh) == ALL, "the worker is seen again")


def test_a_dead_beat_is_missed_with_its_tick_and_nobody_else(mesh):
    mesh.processes["beat"].kill()
    mesh.until(lambda: mesh.queued("control") == 0, "the worker has taken the last tick")
    forget(mesh)
    mesh.until(lambda: seen(mesh) >= WORKER | {"reconciler"}, "the living are seen")
    assert "beat" not in seen(mesh)
    mesh.restart("beat")
    mesh.until(lambda: seen(mesh) == ALL, "beat is seen again")


def test_processes_are_seen_again_once_the_database_is_back(mesh):
    before = {name: process.pid for name, process in mesh.processes.items()}
    mesh.postgres.process.kill()
    for name in ("worker", "beat"):
        said = mesh.processes[name].log
        mesh.until(lambda said=said: "the heartbeat could not be written" in said.read_text(), f"{name} says so")
    mesh.restart("postgres")
    forget(mesh)
    mesh.until(lambda: seen(mesh) == ALL, "everybody is seen again")
    assert {name: process.pid for name, process in mesh.processes.items()} == before


def test_a_worker_without_redis_is_missed_until_redis_is_back(mesh):
    before = mesh.processes["worker"].pid
    mesh.redis.process.kill()
    mesh.until(lambda: silence(mesh) > 1.5 * heartbeats.SECONDS, "the worker says no more that it is alive")
    forget(mesh)
    mesh.until(lambda: seen(mesh) == {"beat", "reconciler"}, "the others are seen as ever")
    mesh.restart("redis")
    mesh.until(lambda: seen(mesh) == ALL, "the worker is seen again")
    assert mesh.processes["worker"].pid == before


def test_a_worker_that_was_busy_when_redis_died_takes_messages_again(mesh):
    lost = acknowledgements_lost(mesh)
    mesh.processes["reconciler"].kill()
    with mesh.session() as cursor:
        # a step of the tick waits here, so that each child has a message when Redis dies
        cursor.execute("LOCK TABLE clients_spentnonce IN ACCESS EXCLUSIVE MODE")
        mesh.until(lambda: len(mesh.waiting_for_a_lock("clients_spentnonce")) == 2, "both children wait")
        mesh.redis.process.kill()
    mesh.until(lambda: acknowledgements_lost(mesh) == lost + 2, "no message could be acknowledged")
    mesh.restart("redis")
    mesh.restart("reconciler")
    forget(mesh)
    mesh.until(lambda: seen(mesh) == ALL, "ticks are taken again")


def acknowledgements_lost(mesh):
    """How often a worker could not say that a message is done."""
    return mesh.processes["worker"].log.read_text().count("CRITICAL celery.worker.request Couldn't ack")
