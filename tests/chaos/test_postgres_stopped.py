"""PostgreSQL stopped at once (`pg_ctl stop -m immediate`), which is a crash to it, in the middle of work."""

import signal

import pytest

from boltz_client.home import Home
from boltz_client.journal import Journal
from tests.chaos.faults import held_shards, held_table, kill_server
from tests.chaos.invariants import check_invariants
from tests.chaos.senders import one_hot_senders, random_senders, send_all, sending

pytestmark = [pytest.mark.processes, pytest.mark.long]


def stop_at_once(mesh):
    """SIGQUIT to the postmaster is what `-m immediate` sends: nothing is written, and the next start recovers."""
    kill_server(mesh, mesh.postgres.process, signal.SIGQUIT)


def pids(mesh):
    return {name: process.pid for name, process in mesh.processes.items()}


def recovered(mesh):
    """How often PostgreSQL has had to recover when it was started."""
    return mesh.postgres.process.log.read_text().count("automatic recovery in progress")


def test_postgres_is_stopped_at_once_in_the_middle_of_uploads(mesh, model, parameters):
    senders, before, crashes = one_hot_senders(parameters), pids(mesh), recovered(mesh)
    promised = senders[0].send(mesh, model)
    with held_table(mesh, "audit_logentry"), sending(mesh, model, senders[1:]):
        mesh.until(lambda: mesh.waiting_for_a_lock("audit_logentry"), "an upload is about to be logged")
        stop_at_once(mesh)
        entries = [Journal(Home(mesh.homes / sender.name)).read(model, 1) for sender in senders[1:]]
        assert [entry for entry in entries if entry is not None and entry.receipt is not None] == []
        mesh.restart("postgres")
        assert recovered(mesh) == crashes + 1
        assert mesh.count("SELECT 1 FROM rounds_update WHERE id = %s", promised.upload_id) == 1
    check_invariants(mesh, model, senders)
    assert pids(mesh) == before


def test_postgres_is_stopped_at_once_in_the_middle_of_a_run(mesh, model, parameters):
    senders, before, crashes = random_senders(parameters, seed=37), pids(mesh), recovered(mesh)
    with held_shards(mesh, [3, 7]) as run_id:
        send_all(mesh, model, senders)
        mesh.until(lambda: len(mesh.waiting_for_a_lock("aggregation_shard")) == 2, "both children store a shard")
        stop_at_once(mesh)
    mesh.restart("postgres")
    assert recovered(mesh) == crashes + 1
    assert mesh.count("SELECT 1 FROM aggregation_shard WHERE run_id = %s", run_id) < 12
    check_invariants(mesh, model, senders)
    assert pids(mesh) == before
