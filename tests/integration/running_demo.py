"""The demo in a process of its own, and one run of it with its defaults that all tests of a session look at."""

import fcntl
import json
import signal
import subprocess
import tempfile
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from local_stack import unprivileged
from tests.integration.checkout import Checkout

MARK = "BOLTZ_DEMO_TEST"
COMMAND = "./dev demo"


class Demo:
    """A demo in a process of its own; everything it starts inherits a mark in its environment."""

    def __init__(self, *command, folder, environment):
        self.mark = uuid.uuid4().hex
        self.lines = []
        self._child = subprocess.Popen(
            command,
            cwd=folder,
            env=environment | {MARK: self.mark, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def until(self, words):
        for line in self._child.stdout:
            self.lines.append(line)
            if words in line:
                return line
        pytest.fail(f"ended before it said {words!r}:\n{self.text}")

    def interrupt(self):
        self._child.send_signal(signal.SIGINT)

    def end(self):
        self.lines += self._child.stdout
        return self._child.wait()

    def kill(self):
        self._child.kill()
        self._child.wait()
        self._child.stdout.close()

    @property
    def text(self):
        return "".join(self.lines)

    @property
    def pid(self):
        return self._child.pid

    def processes(self):
        """Every process that carries the mark, with its command line."""
        return {pid: words for pid, (mark, words) in everyone().items() if mark == self.mark}

    def leftovers(self):
        parents = (Path("/dev/shm"), Path(tempfile.gettempdir()))  # noqa: S108 - only looked at
        folders = [folder for parent in parents for folder in parent.glob(f"boltz-demo-{self.pid}-*")]
        return self.processes(), folders


def everyone():
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        mark = next(
            (entry.partition(b"=")[2].decode() for entry in environment if entry.startswith(f"{MARK}=".encode())), None
        )
        if words:
            found[int(process.name)] = (mark, words)
    return found


@dataclass(frozen=True)
class FinishedDemo:
    """A run that has ended: what it said, what it wrote, and what it left behind."""

    command: str
    exit_code: int
    text: str
    report: str | None
    processes: dict[str, str]
    folders: list[str]


def run_default_demo():
    """Type the README's command in a fresh checkout, at a port that is free."""
    with unprivileged.temporary_directory("readme-demo") as folder:
        checkout = Checkout(folder)
        # exec: the demo has the process id of the shell
        command = ("bash", "-c", f"exec {COMMAND}")
        demo = Demo(*command, folder=checkout.folder, environment=checkout.environment)
        try:
            exit_code = demo.end()
            processes, folders = demo.leftovers()
        finally:
            demo.kill()
        report = checkout.folder / "demo-report.html"
        return FinishedDemo(
            command=COMMAND,
            exit_code=exit_code,
            text=demo.text,
            report=report.read_text(encoding="utf-8") if report.exists() else None,
            processes={str(pid): words for pid, words in processes.items()},
            folders=[str(path) for path in folders],
        )


def default_demo_of_this_session(folder):
    """The one run of this test session: whichever of its processes asks first runs it, the others wait and read."""
    kept = folder / "default-demo.json"
    with (folder / "default-demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(asdict(run_default_demo())))
    return FinishedDemo(**json.loads(kept.read_text()))
