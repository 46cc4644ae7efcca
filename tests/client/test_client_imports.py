"""What a participant has to install, and nothing of the server."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVER = "django|celery|redis|rest_framework|boltz_core|apps|worker|boltz_federated|psycopg2|kombu"
HEAVY = "pandas|sklearn|scipy|torch|safetensors"


@pytest.mark.parametrize("module", ["boltz_client", "boltz_client.cli", "client.client_runtime"])
def test_the_sdk_loads_neither_the_server_nor_the_extras(module):
    script = (
        f"import re, sys, {module}\n"
        f"print(*sorted(name for name in sys.modules if re.fullmatch(r'({SERVER}|{HEAVY})(\\..*)?', name)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.split() == []


def test_both_import_paths_are_the_same_class():
    import boltz_client
    from client import client_runtime

    assert client_runtime.FederatedClient is boltz_client.FederatedClient


def test_the_extras_are_named_where_the_wheel_declares_them():
    """An error that tells to install an extra must name one that exists."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = set(pyproject["project"]["optional-dependencies"])
    named = set()
    for path in (ROOT / "boltz_client").rglob("*.py"):
        named |= set(re.findall(r"boltz-client\[(\w+)\]", path.read_text()))
    assert named == {"sklearn", "torch"}
    assert named <= declared
