"""The client's wheel: what is in it, and that it works away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SERVER_PACKAGES = {"boltz_core", "apps", "worker", "boltz_federated", "local_stack", "demo", "tests"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = directory.glob("*.whl")
    return path


@pytest.fixture
def installed(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def run(installed, *arguments):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=installed.parent, env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_the_wheel_holds_the_client_and_the_protocol_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {name for name in tops if not name.endswith(".dist-info")} == {"boltz_client", "boltz_protocol"}


def test_the_client_imports_from_the_wheel(installed):
    printed = run(
        installed, "-c", "import boltz_client; print(boltz_client.FederatedClient.__name__, boltz_client.__file__)"
    )
    name, path = printed.split()
    assert name == "FederatedClient"
    assert path.startswith(str(installed))


def test_the_client_never_loads_the_server(installed):
    program = "import boltz_client.cli, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(run(installed, "-c", program).split())
    assert not loaded & (
        SERVER_PACKAGES | {"django", "celery", "redis", "rest_framework", "pandas", "sklearn", "torch"}
    )


def test_the_command_line_runs_from_the_wheel(installed):
    assert "register" in run(installed, "-m", "boltz_client", "--help")
