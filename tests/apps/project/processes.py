"""Processes of the mesh's own commands, in an environment that a test decides."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# nobody listens on port 1
NOWHERE = "127.0.0.1:1"


def environment(**changes: str | None) -> dict[str, str]:
    """The suite's environment with changes; None: not set."""
    names = {"DJANGO_SETTINGS_MODULE": "boltz_federated.settings"}
    changed = {name: value for name, value in (dict(os.environ) | names | changes).items() if value is not None}
    return changed | {"PYTHONPATH": str(ROOT)}


def manage(*arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """`manage.py`, to its end."""
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    return subprocess.run(
        command, env=environment(**changes), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
