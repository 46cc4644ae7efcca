"""All processes of one peer, wherever they have gone.

What a peer starts may leave its group and its parent, but it keeps its environment, and our mark stands in there.

Run as a program this is the sweeper: it waits until whoever started it closes its standard input, or is dead, however
that came; then it kills all that carry the mark and removes their directory.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "BOLTZ_BENCH_PEER"
LOOK_AGAIN_SECONDS = 0.05
LOOKS_IN_VAIN = 2


def carries(process: Path, mark: str) -> bool:
    """Whether a directory of /proc is that of a process whose mark begins so; no for one that has ended."""
    wanted = f"{VARIABLE}={mark}".encode()
    try:
        return any(variable.startswith(wanted) for variable in (process / "environ").read_bytes().split(b"\0"))
    except OSError:
        return False


def marked(mark: str) -> list[int]:
    """The ids of all processes whose mark begins so."""
    return [int(process.name) for process in Path("/proc").glob("[0-9]*") if carries(process, mark)]


def kill_marked(mark: str) -> None:
    """SIGKILL for all, until we look twice in vain: while we look they start others, and one in exec shows no mark."""
    unseen = 0
    while unseen < LOOKS_IN_VAIN:
        found = marked(mark)
        unseen = 0 if found else unseen + 1
        for pid in found:
            with suppress(ProcessLookupError):
                kill_if_marked(pid, mark)
        time.sleep(LOOK_AGAIN_SECONDS)


def kill_if_marked(pid: int, mark: str) -> None:
    """Kill the process that is looked at, and not one that was given its number meanwhile."""
    handle = os.pidfd_open(pid)
    try:
        if carries(Path(f"/proc/{pid}"), mark):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)


def main() -> None:
    """Wait for the end of whoever started us, then sweep."""
    mark, directory = sys.argv[1:]
    sys.stdin.read()
    kill_marked(mark)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
