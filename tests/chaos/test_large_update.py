"""A model of 100 million parameters, so updates of 400 MB: what they cost in memory, on both sides."""

import pytest

from benchmarks import round as bench
from benchmarks.processes import PeakMemory, proportional_bytes, totals
from benchmarks.started import started_mesh

pytestmark = pytest.mark.long

PARAMETERS = 100_000_000
MODEL_BYTES = 4 * PARAMETERS
ROUNDS = 2
# above what the idle process has; what a round leaves cached counts too
SERVER_BYTES = 150e6
CLIENT_MODELS = 2.2


def test_an_update_of_400_mb_passes_through_little_memory_of_the_server_and_two_models_of_the_client(monkeypatch):
    monkeypatch.setattr(bench, "CLIENTS", 1)
    with started_mesh() as (mesh, folder):
        bench.make_model(mesh, folder, PARAMETERS, target=1)
        with bench.clients_of(mesh, folder, rounds=ROUNDS) as clients:
            parts = {name: [process.pid] for name, process in mesh.all_processes().items() if name in {"web", "worker"}}
            roots = {name: (lambda pids=pids: pids) for name, pids in (parts | {"client": [clients[0].pid]}).items()}
            idle = totals(roots, proportional_bytes)
            with PeakMemory(roots) as memory:
                bench.run_rounds(clients, rounds=ROUNDS)
            published = len(bench.moments(mesh))
    above = {name: memory.peak[name] - idle[name] for name in roots}
    assert published == ROUNDS
    assert above["client"] < CLIENT_MODELS * MODEL_BYTES, above
    assert above["web"] < SERVER_BYTES, above
    assert above["worker"] < SERVER_BYTES, above
