"""An environment for each peer, apart from the project's own.

It is made when it is first needed, and again when its lock has changed. The lock lists every package with its hashes,
so nothing is resolved here (`--no-deps`) and nothing else gets in.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from local_stack.mesh import ROOT

ENVIRONMENTS = ROOT / ".venv-peers"
LOCKS = Path(__file__).parent


def python_of(peer: str) -> Path:
    """The Python that has the peer installed.

    Raises:
        SystemExit: it could not be installed.
    """
    lock, environment = LOCKS / f"requirements-{peer}.txt", ENVIRONMENTS / peer
    want = hashlib.sha256(lock.read_bytes() + sys.version.encode() + str(environment).encode()).hexdigest()
    stamp = environment / ".stamp"
    if not stamp.exists() or stamp.read_text() != want:
        make(environment, lock)
        stamp.write_text(want)
    return environment / "bin" / "python"


def make(environment: Path, lock: Path) -> None:
    """A new environment that holds what the lock says."""
    print(f"setting up {environment.relative_to(ROOT)} (once; some minutes)", file=sys.stderr, flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    command = [*installer(environment / "bin" / "python"), "--no-deps", "--require-hashes", "--only-binary=:all:"]
    if subprocess.run([*command, "-r", str(lock)], check=False).returncode:
        raise SystemExit(f"{lock.name} could not be installed. Is the package index reachable?")


def installer(python: Path) -> list[str]:
    """The command that installs into an environment: uv where there is one, else the pip of the Python below it."""
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", str(python)]
    return [
        *(str(python.resolve()), "-m", "pip", "--python", str(python)),
        *("install", "-qq", "--disable-pip-version-check"),
    ]


def pinned_version(peer: str, package: str) -> str:
    """The version of a package in a peer's list of requirements.

    Raises:
        ValueError: it is not pinned there.
    """
    for line in (LOCKS / f"requirements-{peer}.in").read_text().splitlines():
        name, _, version = line.partition("==")
        if name == package and version:
            return version
    raise ValueError(f"requirements-{peer}.in does not pin {package}")
