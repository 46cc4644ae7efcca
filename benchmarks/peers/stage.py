"""Where one peer runs for a while: a directory that is its home, processes that carry its mark, and nothing afterwards.

What it starts knows this machine only: its environment has no proxy, its servers are told to listen on the loopback.
Whatever ends us, also SIGKILL, a sweeper ends it (`marked.py`).
"""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.marked import VARIABLE, marked
from benchmarks.processes import Roots
from local_stack import ports
from local_stack.mesh import ROOT

PATIENCE_SECONDS = 300.0
LOOK_SECONDS = 0.1
LOG_TAIL_BYTES = 3_000
SERVER, CLIENTS, TOOLS = "server", "clients", "tools"


@dataclass(frozen=True)
class Load:
    """What a peer is asked to do: rounds of so many clients with a model of one tensor."""

    parameters: int
    clients: int
    rounds: int


@dataclass(frozen=True)
class Stage:
    """Starts programs and waits for what they do.

    Args:
        directory: the peer's home; removed at the end.
        mark: what all of its processes carry.
        python: of the environment that has the peer.
        settings: more environment variables; `{home}` in their values stands for the directory.
    """

    directory: Path
    mark: str
    python: Path
    settings: Mapping[str, str]
    lasting: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def deliveries(self) -> Path:
        """Where clients write down when they held which model."""
        return self.directory / "deliveries.jsonl"

    @property
    def groups(self) -> Roots:
        """The processes of the server, and those of all clients."""
        return {role: lambda role=role: marked(f"{self.mark}/{role}/") for role in (SERVER, CLIENTS)}

    def program(self, name: str) -> str:
        """A program of the peer's environment."""
        return str(self.python.with_name(name))

    def start(self, *command: str, role: str, name: str) -> None:
        """Start a program that lasts until the end."""
        self.lasting[name] = self._popen(command, role, name)

    def run(self, *command: str, name: str) -> None:
        """Run a program to its end.

        Raises:
            SystemExit: it failed, or takes too long.
        """
        program = self._popen(command, TOOLS, name)
        self.wait_for(lambda: program.poll() is not None, what=f"the end of {command[0]}")
        if program.returncode:
            raise SystemExit(f"{command[0]} ended with code {program.returncode}:\n{self.log_tail(name)}")

    def wait_for(self, condition: Callable[[], bool], *, what: str) -> None:
        """Wait until the condition holds.

        Raises:
            SystemExit: it takes too long, or a program has ended that should last.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            for name, program in self.lasting.items():
                if program.poll() is not None:
                    raise SystemExit(f"{name} ended with code {program.returncode}:\n{self.log_tail(name)}")
            if time.monotonic() > deadline:
                tails = "\n\n".join(f"{name}:\n{self.log_tail(name)}" for name in list(self.lasting)[:2])
                raise SystemExit(f"{what} did not come within {PATIENCE_SECONDS:.0f} s.\n\n{tails}")
            time.sleep(LOOK_SECONDS)

    def log_tail(self, name: str) -> str:
        """The end of what a program has said."""
        return self._log(name).read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def _popen(self, command: tuple[str, ...], role: str, name: str) -> subprocess.Popen[bytes]:
        with self._log(name).open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=self._environment(role, name),
                # Ctrl-C goes to the whole group of a terminal; we decide when these end
                start_new_session=True,
            )

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def _environment(self, role: str, name: str) -> dict[str, str]:
        """All that its processes know; as ours, they have one BLAS thread each."""
        return {
            VARIABLE: f"{self.mark}/{role}/{name}",
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory),
            "PATH": f"{self.python.parent}{os.pathsep}{os.defpath}",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "OPENBLAS_NUM_THREADS": "1",
        } | {variable: value.format(home=self.directory) for variable, value in self.settings.items()}


@contextmanager
def staged(python: Path, settings: Mapping[str, str]) -> Iterator[Stage]:
    """A stage whose processes and directory are gone at the end."""
    stage = Stage(Path(tempfile.mkdtemp(prefix="boltz-peer-")), secrets.token_hex(8), python, settings)
    sweeper = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peers.marked", f"{stage.mark}/", str(stage.directory)],
        stdin=subprocess.PIPE,
        cwd=ROOT,
        # it has to outlive Ctrl-C
        start_new_session=True,
    )
    try:
        yield stage
    finally:
        sweeper.communicate()
        for program in stage.lasting.values():
            program.wait()


def listens(port: int) -> bool:
    """Whether somebody answers on a port of the loopback."""
    try:
        with socket.create_connection((ports.LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
