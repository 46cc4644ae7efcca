"""The mesh as its users meet it: the document's own lines and commands, several rounds, both servers of the API."""

import csv
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import numpy as np
import pytest

from boltz_client.trainers import LinearTrainer
from local_stack import ports
from local_stack.mesh import ROOT
from local_stack.processes import Process, Program, wait_until
from tests.integration.recomputation import Contribution, expected_weights, file_digest
from tests.integration.running_mesh import KINDS, running

pytestmark = pytest.mark.processes

# as the document has them, but for the port
FOUR_LINES = """
from client.client_runtime import FederatedClient
client = FederatedClient("my-client", "http://localhost:8010")
client.register(region="us-east-1")
result = client.participate_in_round("boltz-core", {"X": X, "y": y}, round_number=1)
"""


@pytest.fixture(scope="module")
def mesh():
    with running(name="whole-mesh") as started:
        yield started


@pytest.fixture
def shell(mesh, tmp_path):
    """Run a command as a participant does, with the root of its homes in a folder of its own."""

    def run(*arguments, folder=ROOT):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("BOLTZ_", "DJANGO"))}
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment | {"BOLTZ_CLIENT_HOME": str(tmp_path / "clients")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    return run


def write_csv(path, task, data):
    """A participant's file: the columns in an order of its own, and one that has nothing to do with the model."""
    columns = [*reversed(task["features"]), "symbol", task["target"]]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        for features, target in zip(data["X"], data["y"], strict=True):
            rows.writerow([*reversed(features.tolist()), "ACME", float(target)])


def test_from_the_documents_lines_to_a_published_version(mesh, shell, tmp_path, make_data, starter_task):
    address = f"http://localhost:{mesh.port}"
    script = """
        import numpy as np
        data = np.load({path!r})
        X, y = data["X"], data["y"]
        {lines}
        print("receipt", result.receipt.body_sha256)
        print("decision", result.decision)
    """
    np.savez(tmp_path / "data.npz", **make_data(seed=1))
    lines = textwrap.indent(FOUR_LINES.replace("http://localhost:8010", address).strip(), 8 * " ").strip()
    said = shell("-c", textwrap.dedent(script.format(path=str(tmp_path / "data.npz"), lines=lines)))
    assert "decision received" in said
    assert mesh.count("SELECT 1 FROM rounds_update WHERE body_sha256 = %s", re.search(r"receipt (\w{64})", said)[1])

    who = ("--url", address, "--name", "from-a-shell")
    write_csv(tmp_path / "data.csv", starter_task, make_data(seed=2))
    assert "edge_node  eu-west-1  active" in shell(
        "-m", "boltz_client", "register", *who, "--region", "eu-west-1", "--kind", "edge_node"
    )
    csv_options = ("--data", str(tmp_path / "data.csv"), "--target", starter_task["target"], "--ignore", "symbol")
    assert "trained on 120 examples" in shell("-m", "boltz_client", "join", *who, "boltz-core", *csv_options)
    assert "(sent earlier)" in shell("-m", "boltz_client", "join", *who, "boltz-core", *csv_options)

    example = shell("example_local_train.py", "--url", address, folder=ROOT / "client")
    assert "to round 1: received" in example
    assert "pulled boltz-core version 0" in example

    assert mesh.manage("aggregate", "--model", "boltz-core", "--round", "1") == (
        "boltz-core round 1 is published as version 1\n"
    )
    status = shell("-m", "boltz_client", "status", *who, "boltz-core")
    assert re.search(r"boltz-core round 1 \(published\)  aggregated  in version 1  weight 0\.\d+", status)
    mesh.until(lambda: mesh.round_state("boltz-core", 2) == "open", "the next round is open")
    assert "version 1  round 2" in shell("-m", "boltz_client", "models", *who)


class RecordingTrainer:
    """The trainer of the task, which keeps what is about to be sent."""

    def __init__(self, task):
        self._trainer = LinearTrainer(task)
        self.sent = None

    def train(self, weights, X, y):
        trained = self._trainer.train(weights, X, y)
        before, after = (np.concatenate([w["bias"], w["weight"]]).astype("<f4") for w in (weights, trained))
        self.sent = Contribution(after - before, len(y))
        return trained

    def evaluate(self, weights, X, y):
        return self._trainer.evaluate(weights, X, y)


def test_four_kinds_of_clients_train_for_three_rounds(mesh, make_data):
    model = "kept-open"
    rules = ("--target", "4", "--max-norm", "64", "--keep-open", "--open")
    mesh.manage("create_model", "--starter", "boltz-core", "--name", model, *rules)
    clients = {kind: mesh.client(f"trains-{kind}", kind) for kind in KINDS}
    data = {kind: make_data(seed, rows=60 + 20 * seed) for seed, kind in enumerate(KINDS)}
    base = clients[KINDS[0]].pull(model)
    task, first = base.manifest.task, base
    for number in (1, 2, 3):
        mesh.until(lambda number=number: mesh.round_state(model, number) == "open", f"round {number} is open")
        trainers = {kind: RecordingTrainer(task) for kind in KINDS}
        results = [
            clients[kind].participate_in_round(model, data[kind], number, trainer=trainers[kind]) for kind in KINDS
        ]
        decided = [result.wait(timeout_seconds=120) for result in results]
        assert [result.decision for result in decided] == [f"aggregated into version {number}"] * 4
        assert sum(result.status.weight for result in decided) == pytest.approx(1)
        pulled = clients[KINDS[0]].pull(model)
        assert pulled.manifest.number == pulled.manifest.round == number
        assert pulled.manifest.base_sha256 == base.manifest.weights_sha256
        assert pulled.manifest.members == 4
        expected = expected_weights(
            base.vector, [trainers[kind].sent for kind in KINDS], max_norm=64.0, example_cap=252
        )
        np.testing.assert_array_equal(pulled.vector, expected)
        assert pulled.manifest.weights_sha256 == file_digest({"bias": expected[:1], "weight": expected[1:]})
        base = pulled
    unseen = make_data(seed=99)
    before, after = (np.mean((version.predict(unseen["X"]) - unseen["y"]) ** 2) for version in (first, base))
    assert after < before


def test_uvicorn_serves_the_same_api(mesh, make_data):
    port = ports.free_port()
    command = ("-m", "uvicorn", "boltz_federated.asgi:application", "--host", ports.LOOPBACK, "--port", str(port))
    process = Process(
        Program("uvicorn", (sys.executable, *command)), directory=mesh.directory, working_directory=Path(ROOT)
    )
    process.start(environment=mesh.environment())
    try:
        url = f"http://{ports.LOOPBACK}:{port}"
        assert wait_until(lambda: not ports.is_free(port), seconds=120), process.log_tail()
        assert httpx.get(f"{url}/readyz", trust_env=False, timeout=60).json() == {"database": "ok", "redis": "ok"}
        mesh.manage("create_model", "--starter", "boltz-core", "--name", "by-uvicorn", "--open")
        with mesh.new_client("by-uvicorn", url=url) as client:
            client.register(region="eu-west-1")
            result = client.participate_in_round("by-uvicorn", make_data(seed=3), round_number=1)
            mesh.until(lambda: mesh.update_states("by-uvicorn") == ["staged"], "what uvicorn took is staged")
            assert client.status("by-uvicorn").upload_id == result.upload_id
    finally:
        process.stop()
