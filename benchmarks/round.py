"""A whole round with 8 real client processes, against what `./dev up` starts: from its opening to the last one's pull.

The clients begin at a word, when the round is open and every one has pulled the version before.

The split follows the critical path, by the clocks of the clients and of the database, which are the same on one
machine: the last client has trained, the last update is durable, the last one is staged, the run has begun, the version
is published, the last client has pulled it. The first round warms up and does not count. Memory is looked at in two
more rounds at the end, because looking costs time; CPU time is read before and after the rounds that count.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import safetensors.numpy

from benchmarks.processes import PeakMemory, cpu_seconds, totals
from benchmarks.started import rows, started_mesh
from local_stack.mesh import Mesh

CLIENTS = 8
MODEL = "bench"
SIZES = (10_000, 1_000_000, 10_000_000)
STEP = 1e-4
WARM_UP, MEMORY_ROUNDS = 1, 2
MEGABYTE = 1e6
# the moments of a round on its critical path, each the latest of its kind, in seconds since 1970
MOMENTS = """
    SELECT max(extract(epoch FROM u.received_at)),
           max(extract(epoch FROM u.decided_at)), max(extract(epoch FROM a.started_at)), extract(epoch FROM r.ended_at)
    FROM rounds_round r
    JOIN rounds_federatedmodel m ON m.id = r.model_id
    JOIN rounds_update u ON u.round_id = r.id
    JOIN aggregation_run a ON a.round_id = r.id AND a.state = 'published'
    WHERE m.name = %s AND r.state = 'published'
    GROUP BY r.id ORDER BY r.number
"""
PARTS = ("client", "seal and upload", "ingest", "freeze", "aggregate and publish", "pull")


def measure(*, repeat: int) -> list[dict[str, str | float]]:
    """One row for each size."""
    return [measure_size(size, rounds=repeat) for size in SIZES]


def measure_size(parameters: int, *, rounds: int) -> dict[str, str | float]:
    """Seconds a round and its parts (medians), and the peaks of proportional memory."""
    with started_mesh() as (mesh, folder):
        make_model(mesh, folder, parameters)
        with clients_of(mesh, folder, rounds=WARM_UP + rounds + MEMORY_ROUNDS) as clients:
            told = run_rounds(clients, rounds=WARM_UP)
            before = cpu_of(mesh, clients)
            told += run_rounds(clients, rounds=rounds)
            after = cpu_of(mesh, clients)
            with PeakMemory(groups(mesh, clients)) as memory:
                run_rounds(clients, rounds=MEMORY_ROUNDS)
        row = row_of(parameters, moments(mesh)[: len(told)], told)
        row |= {f"CPU s: {name}": (after[name] - before[name]) / rounds for name in after}
        return row | {
            "server MB": memory.peak["server"] / MEGABYTE,
            "MB a client": memory.peak["clients"] / MEGABYTE / CLIENTS,
        }


def groups(mesh: Mesh, clients: list[subprocess.Popen[str]]) -> dict[str, Callable[[], list[int]]]:
    """Everything that the mesh has started, and the clients."""
    return {
        "server": lambda: [process.pid for process in mesh.all_processes().values()],
        "clients": lambda: [client.pid for client in clients],
    }


def cpu_of(mesh: Mesh, clients: list[subprocess.Popen[str]]) -> dict[str, float]:
    """CPU time so far of each of the mesh's processes with its children, and of the clients."""
    programs = {name: [process.pid] for name, process in mesh.all_processes().items()}
    others = ("redis", "beat", "reconciler")
    programs["others"] = [pid for name in others for pid in programs.pop(name)]
    programs["clients"] = [client.pid for client in clients]
    return totals({name: (lambda pids=pids: pids) for name, pids in programs.items()}, cpu_seconds)


def make_model(mesh: Mesh, folder: Path, parameters: int, *, target: int = CLIENTS) -> None:
    """A custom model of one tensor whose rounds seal as soon as `target` clients have sent."""
    task = {
        "kind": "custom",
        "features": ["x"],
        "center": [0.0],
        "scale": [1.0],
        "clip": 10.0,
        "target": "y",
        "metric": "mse",
        "hidden": [],
        "activation": "relu",
    }
    policy = {
        "mode": "robust",
        "rule": "weighted_mean",
        "max_norm": 10.0,
        "quorum": min(target, CLIENTS),
        "target": target,
        "example_cap": 1000,
        "round_seconds": 3600,
        "replay_window_days": 30,
    }
    (folder / "model.json").write_text(json.dumps({"name": MODEL, "task": task, "policy": policy}))
    safetensors.numpy.save_file({"weight": np.zeros(parameters, np.float32)}, folder / "weights.safetensors")
    options = ("--file", str(folder / "model.json"), "--weights", str(folder / "weights.safetensors"))
    mesh.manage("create_model", *options, "--keep-open", "--open")


@contextmanager
def clients_of(mesh: Mesh, folder: Path, *, rounds: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Client processes that have enrolled and wait for the word; they are gone at the end."""
    with ExitStack() as stack:
        clients = []
        for number in range(CLIENTS):
            arguments = {"url": mesh.url, "name": f"client-{number}", "model": MODEL, "rounds": rounds}
            arguments |= {"home": folder / f"home-{number}", "size": STEP * (number + 1)}
            words = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
            client = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.round_client", *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
            stack.callback(client.wait)
            stack.callback(client.kill)
            clients.append(client)
        for client in clients:
            line_of(client)
        yield clients


def run_rounds(clients: list[subprocess.Popen[str]], *, rounds: int) -> list[dict[str, float]]:
    """Give the word for each round, and collect when the last client had done what; no round begins early."""
    told = []
    for _ in range(rounds):
        begun = time.time()
        for client in clients:
            tell(client)
        said = [json.loads(line_of(client)) for client in clients]
        told.append({"begun": begun} | {moment: max(line[moment] for line in said) for moment in ("trained", "pulled")})
    return told


def tell(client: subprocess.Popen[str]) -> None:
    """Give a client the word."""
    assert client.stdin is not None  # noqa: S101 - started with a pipe
    client.stdin.write("\n")
    client.stdin.flush()


def line_of(client: subprocess.Popen[str]) -> str:
    """What a client says next."""
    assert client.stdout is not None  # noqa: S101 - started with a pipe
    line = client.stdout.readline()
    if not line:
        raise SystemExit(f"a client ended with code {client.wait()}")
    return line


def moments(mesh: Mesh) -> list[tuple[float, ...]]:
    """The moments of every published round, from the database."""
    return [tuple(map(float, row)) for row in rows(mesh, MOMENTS, MODEL)]


def row_of(parameters: int, published: list[tuple[float, ...]], told: list[dict[str, float]]) -> dict[str, str | float]:
    """Medians over all rounds but the first."""
    splits = []
    for said, server in list(zip(told, published, strict=True))[1:]:
        times = (said["begun"], said["trained"], *server, said["pulled"])
        splits.append([later - earlier for earlier, later in itertools.pairwise(times)])
    parts = dict(zip(PARTS, map(statistics.median, zip(*splits, strict=True)), strict=True))
    return {"parameters": f"{parameters:.0e}", "s a round": statistics.median(map(sum, splits)), **parts}
