"""The same stories over TCP: the command line, the user's example from its own folder, and a mesh that is not there."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from boltz_client import FederatedClient, cli
from boltz_client.errors import ServerUnreachableError
from tests.client.http_server import serving
from tests.client.mesh_simulation import CUSTOM, FEATURES, SimulatedMesh

ROOT = Path(__file__).resolve().parents[2]


class RealTime(SimulatedMesh):
    """A mesh that keeps the real time, for clients in processes of their own."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)

        class Now(type(self.clock)):
            def now(self) -> float:
                import time

                return time.time()

            def utc(self):
                from datetime import UTC, datetime

                return datetime.fromtimestamp(int(self.now()), tz=UTC)

        self.clock = Now()
        self.rounds[1].opens_at = self.clock.utc()


@pytest.fixture
def mesh() -> RealTime:
    return RealTime()


def test_a_whole_round_over_tcp(mesh, tmp_path, data, monkeypatch):
    with serving(mesh, monkeypatch) as url, FederatedClient("tcp", url, home=tmp_path / "home") as client:
        client.register(region="eu")
        result = client.participate_in_round("boltz-core", data)
        assert result.receipt.body_bytes == len(mesh.the_update().body)
        assert client.rotate_key().kid == client.record().kid
        client.leave()
    assert mesh.clients == {}


def test_an_update_of_many_blocks_arrives_whole(tmp_path, monkeypatch):
    n = 300_000
    mesh = RealTime(CUSTOM, weights={"w": np.zeros(n, np.float32)})

    class Trainer:
        def train(self, weights, X, y):
            return {"w": np.linspace(-1e-3, 1e-3, n, dtype=np.float32)}

        def evaluate(self, weights, X, y):
            return {}

    with serving(mesh, monkeypatch) as url, FederatedClient("big", url, home=tmp_path / "home") as client:
        client.register(region="eu")
        client.participate_in_round("boltz-core", {"X": np.ones((2, 1)), "y": np.ones(2)}, trainer=Trainer())
    np.testing.assert_array_equal(mesh.the_update().delta, np.linspace(-1e-3, 1e-3, n, dtype=np.float32))


def test_nobody_listening_is_an_error_with_the_address(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with (
            FederatedClient("a", url, home=tmp_path / "home") as client,
            pytest.raises(ServerUnreachableError, match=url),
        ):
            client.register(region="eu")


def test_a_client_that_is_let_go_leaves_no_socket_open(mesh, tmp_path, monkeypatch):
    with serving(mesh, monkeypatch) as url:
        client = FederatedClient("gone", url, home=tmp_path / "home")
        client.register(region="eu")
        del client
    # an open socket would be a ResourceWarning, which is an error here


def bare_environment(home):
    """Of this process's environment only what finds programs, and what measures coverage when it is measured."""
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COVERAGE_")}
    return kept | {"HOME": str(home)}


@pytest.mark.parametrize("folder", [ROOT / "client", ROOT])
def test_the_users_example_runs_from_its_own_folder(mesh, tmp_path, monkeypatch, folder):
    environment = bare_environment(tmp_path) | {"PYTHONWARNINGS": "error"}
    script = [sys.executable, str(ROOT / "client" / "example_local_train.py")]
    with serving(mesh, monkeypatch) as url:
        run = subprocess.run(
            [*script, "--url", url],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert run.returncode == 0, run.stderr
    assert "pulled boltz-core version 0: next_day from spread, volume, momentum" in run.stdout
    assert mesh.the_update().body_sha256 in run.stdout
    assert (tmp_path / ".boltz" / "clients").is_dir()


def test_the_users_example_says_what_is_wrong(tmp_path):
    environment = bare_environment(tmp_path)
    script = [sys.executable, str(ROOT / "client" / "example_local_train.py"), "--url", "nowhere"]
    run = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("base_url 'nowhere' must look like")


def test_the_command_line_does_the_same_from_a_shell(mesh, tmp_path, data, monkeypatch, capsys):
    csv = tmp_path / "mine.csv"
    rows = np.column_stack([data["X"], data["y"]])
    np.savetxt(csv, rows, delimiter=",", header=",".join([*FEATURES, "next_day"]), comments="")
    with serving(mesh, monkeypatch) as url:
        monkeypatch.setenv(cli.URL_VARIABLE, url)
        monkeypatch.setenv(cli.NAME_VARIABLE, "shell")
        home = ["--home", str(tmp_path / "home")]
        assert cli.main(["register", "--region", "eu", *home]) == 0
        assert cli.main(["join", "boltz-core", "--data", str(csv), "--target", "next_day", *home]) == 0
        assert cli.main(["status", "boltz-core", *home]) == 0
    out = capsys.readouterr().out
    assert mesh.the_update().body_sha256 in out
    assert "boltz-core round 1 (open)  staged" in out
