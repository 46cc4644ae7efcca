"""`./dev manage` and `run --`: one command against the servers of `./dev up`, started for it when they do not run."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from local_stack import directory_lock, interrupts, processes, up
from local_stack.directory_lock import DirectoryInUseError
from local_stack.errors import StackError
from local_stack.mesh import ROOT, Mesh

OTHERS_START_SECONDS = 60.0


@contextmanager
def servers() -> Iterator[Mesh]:
    """The mesh of the data directory with PostgreSQL and Redis running: found, or started and stopped again.

    Raises:
        StackError: another process holds the directory, and its servers do not answer.
    """
    mesh = Mesh(up.data_directory(), port=up.chosen_port())
    with ExitStack() as stack:
        try:
            stack.enter_context(directory_lock.hold(mesh.directory))
        except DirectoryInUseError as error:
            if not processes.wait_until(mesh.attach, seconds=OTHERS_START_SECONDS):
                raise StackError(f"{error} Its servers do not answer.") from error
        else:
            stack.enter_context(mesh)
            mesh.start_servers()
        yield mesh


def run(command: Sequence[str]) -> int:
    """Run a command on this terminal with the servers up. Returns its exit code, 128 + the signal if one ended it."""
    os.umask(0o077)
    try:
        with interrupts.one_interruption(), servers() as mesh:
            code = _run_to_end(command, mesh.environment())
    except interrupts.InterruptedBySignal as interruption:
        return interruption.exit_code
    return code if code >= 0 else 128 - code


def _run_to_end(command: Sequence[str], environment: dict[str, str]) -> int:
    """The command answers the terminal's Ctrl-C, which reaches us both; other signals are handed on."""
    try:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            preexec_fn=processes.death_with_parent(signal.SIGTERM),  # noqa: PLW1509 - one system call, see processes
        )
    except OSError as error:
        raise StackError(f"{command[0]} cannot be run: {error.strerror}.") from error
    with interrupts.handed_to(child.send_signal):
        return child.wait()
