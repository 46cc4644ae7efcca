"""A copy of the repository with an environment of its own, in which commands run as a stranger's would."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from boltz_client import FederatedClient
from local_stack import ports
from local_stack.mesh import ROOT
from local_stack.processes import Process, Program, wait_until
from tests.integration.running_mesh import DEADLINE_SECONDS

NOT_COPIED = shutil.ignore_patterns(
    ".*cache*", ".git", ".venv", ".boltz", "__pycache__", ".hypothesis", ".coverage*", "htmlcov"
)
# of the shell in which the suite runs
FOREIGN = (
    "BOLTZ_",
    "DJANGO_",
    "PYTEST_",
    "COV_",
    "DATABASE_URL",
    "REDIS_URL",
    "SECRET_KEY",
    "ALLOWED_HOSTS",
    "PYTHONPATH",
)


class Checkout:
    """A copy of the repository with its .venv, in which commands run as a stranger's would."""

    def __init__(self, folder):
        self.folder = folder / "checkout"
        self.home = folder / "home"
        self.home.mkdir()
        self.port = ports.free_port()
        shutil.copytree(ROOT, self.folder, ignore=NOT_COPIED)
        self._make_venv()
        self._up = None

    def _make_venv(self):
        """What `./dev setup` would make, out of the environment that runs this test."""
        venv = self.folder / ".venv"
        venv.mkdir()
        for name in ("bin", "lib", "pyvenv.cfg"):
            (venv / name).symlink_to(Path(sys.prefix) / name)
        # as ./dev computes it, so that it does not install everything again
        lock = (self.folder / "requirements-dev.txt").read_bytes()
        stamp = hashlib.sha256(lock + sys.version.encode() + str(self.folder).encode())
        (venv / ".stamp").write_text(stamp.hexdigest())

    @property
    def environment(self):
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        path = f"{self.folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return own | {
            "HOME": str(self.home),
            "PATH": path,
            "BOLTZ_PORT": str(self.port),
            "PYTHONPATH": str(self.folder),
        }

    def run(self, *command, folder=None):
        """Run a command to its end; returns what it printed."""
        ended = subprocess.run(
            command,
            cwd=folder or self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}"
        return ended.stdout

    def run_line(self, line, **options):
        """Run a line of a shell, at the port of this checkout's mesh."""
        return self.run("bash", "-euo", "pipefail", "-c", self.at_our_port(line), **options)

    def at_our_port(self, text):
        return text.replace("localhost:8010", f"localhost:{self.port}")

    @contextmanager
    def going(self, line, what, *, to_the_end=True):
        """A command that goes on until it is interrupted, once it has said `what`; or killed, to save its farewell."""
        name = hashlib.sha256(line.encode()).hexdigest()[:8]
        process = Process(
            Program(name, ("bash", "-c", f"exec {line}")), directory=self.home, working_directory=self.folder
        )
        process.start(environment=self.environment)
        try:
            assert wait_until(
                lambda: what in process.log.read_text() or not process.is_running(), seconds=DEADLINE_SECONDS
            ), process.log_tail()
            process.require_running()
            yield process
        finally:
            if to_the_end:
                # Ctrl-C on a terminal reaches the whole group
                process.send_to_group(signal.SIGINT)
                ended = wait_until(lambda: not process.is_running(), seconds=DEADLINE_SECONDS)
            process.kill()
        assert not to_the_end or ended, process.log_tail()

    def other_participants(self, count):
        """The mesh's other clients, without whom a round does not reach its quorum."""
        random = np.random.default_rng(1)
        for number in range(count):
            name = f"other-{number}"
            with FederatedClient(name, f"http://localhost:{self.port}", home=self.home / name) as client:
                client.register(region="eu-west-1")
                data = {"X": random.normal(size=(50, 9)) * 0.3, "y": random.normal(size=50) * 0.1}
                client.participate_in_round("boltz-core", data)
