"""Processes that belong to us: started in groups of their own, ended with us, and known by their own process id.

Ways down: `stop` (signal, bounded wait, SIGKILL to the group); the kernel's parent-death signal when we are killed
ourselves (Linux); and a start on the same directory waits for what a killed run left behind. The parent-death signal
belongs to the thread that starts the process, so start from a thread that lives as long as the mesh.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from local_stack.errors import StackError
from local_stack.unprivileged import User

_PR_SET_PDEATHSIG = 1
# looked up before any fork: a child between fork and exec should do as little as possible
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
_LOG_TAIL_BYTES = 2_000
_PREDECESSOR_SECONDS = 15.0


class ProcessFailedError(StackError):
    """A process ended, or did not get ready in time."""


@dataclass(frozen=True)
class Program:
    """What to run, and how it likes to be ended.

    Args:
        name: also the name of its log file.
        command: program and arguments.
        stop_signal: the polite one.
        orphan_signal: what the kernel sends it when we die. SIGKILL for what would take too long about it.
        stop_seconds: how long politeness lasts.
    """

    name: str
    command: tuple[str, ...]
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0


def wait_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Ask again and again until the condition holds; False when the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Process:
    """One running program and its group. Can be started again after it has ended."""

    def __init__(self, program: Program, *, directory: Path, working_directory: Path, user: User | None = None) -> None:
        self.program = program
        self.log = directory / "log" / f"{program.name}.log"
        self.exit_code: int | None = None
        self._record = directory / "run" / program.name
        self._working_directory = working_directory
        self._user = user
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; the group has the same.

        Raises:
            ProcessFailedError: it is not running.
        """
        if self._child is None:
            raise ProcessFailedError(f"{self.program.name} is not running.")
        return self._child.pid

    def start(self, *, environment: Mapping[str, str], standard_input: bytes | None = None) -> None:
        """Start it; what `standard_input` holds is written to it, so that secrets stay off the command line."""
        if self.is_running():
            raise ProcessFailedError(f"{self.program.name} is running already.")
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._await_predecessor()
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.program.command,
                stdin=subprocess.DEVNULL if standard_input is None else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._working_directory,
                env=environment,
                start_new_session=True,
                # nothing else can ask for the parent-death signal, and the hook makes one system call
                preexec_fn=death_with_parent(self.program.orphan_signal),  # noqa: PLW1509
                **(self._user.popen_arguments() if self._user else {}),
            )
        self.exit_code = None
        self._record.write_text(f"{self._child.pid} {_started_at(self._child.pid)}")
        if standard_input is not None and self._child.stdin is not None:
            # a program that ends at once is reported by whoever waits for it, with its log
            with contextlib.suppress(BrokenPipeError), self._child.stdin as pipe:
                pipe.write(standard_input)

    def is_running(self) -> bool:
        """Whether it runs. When it has just ended, the rest of its group is killed here."""
        if self._child is None:
            return False
        if self._child.poll() is None:
            return True
        self._bury()
        return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        if self.is_running():
            os.kill(self.pid, number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and to all of its children."""
        if self.is_running():
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL the whole group; returns when it is gone."""
        self.send_to_group(signal.SIGKILL)
        if self._child is not None:
            self._child.wait()
            self._bury()

    def ask_to_stop(self) -> None:
        """Send the polite signal and return at once."""
        self.send(self.program.stop_signal)
        # one that is stopped (SIGSTOP) would never read the polite signal
        self.send_to_group(signal.SIGCONT)

    def stop(self) -> None:
        """Polite signal, bounded wait, SIGKILL to the group. Does nothing when it is not running."""
        self.ask_to_stop()
        self.see_off()

    def see_off(self) -> None:
        """What follows ask_to_stop(): bounded wait, SIGKILL to the group."""
        wait_until(lambda: not self.is_running(), seconds=self.program.stop_seconds)
        self.kill()

    def log_tail(self) -> str:
        """The end of its log."""
        try:
            return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    def require_running(self) -> None:
        """Raise with the end of its log when it has ended.

        Raises:
            ProcessFailedError: it has ended.
        """
        if not self.is_running():
            raise ProcessFailedError(
                f"{self.program.name} ended with code {self.exit_code}. {self.log} ends with:\n{self.log_tail()}"
            )

    def _bury(self) -> None:
        """Kill what is left of the group as soon as its leader is reaped: later the number may be somebody else's."""
        child, self._child = self._child, None
        if child is not None:
            self.exit_code = child.returncode
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            self._record.unlink(missing_ok=True)

    def _await_predecessor(self) -> None:
        """Wait for the same program of an earlier run that was killed: two on one directory would damage its data."""
        try:
            pid, _, started_at = self._record.read_text().partition(" ")
        except FileNotFoundError:
            return
        # the start time tells our process from a stranger who was given its number later
        if not wait_until(lambda: not started_at or _started_at(int(pid)) != started_at, seconds=_PREDECESSOR_SECONDS):
            raise ProcessFailedError(
                f"{self.program.name} of an earlier run is still there as process {pid}. Stop it first."
            )


def death_with_parent(number: signal.Signals) -> Callable[[], None]:
    """What a child calls between fork and exec, so that the kernel sends it the signal when this process dies."""
    parent = os.getpid()

    def ask_the_kernel() -> None:
        if _PRCTL is not None:
            _PRCTL(_PR_SET_PDEATHSIG, int(number))
            # the parent died before we could ask
            if os.getppid() != parent:
                os._exit(1)

    return ask_the_kernel


def _started_at(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty when it is gone, or a zombie, or there is no /proc."""
    try:
        # the name, in brackets, may hold anything, so count from the last bracket
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state in "ZX" else rest[18]
