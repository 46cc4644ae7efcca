"""What trees of processes use: CPU time, and proportional memory (PSS: what is shared is counted once)."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

LOOK_SECONDS = 0.1
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

Roots = Mapping[str, Callable[[], Sequence[int]]]


def fields_of(process: Path) -> list[str]:
    """The fields of /proc/PID/stat after the name: state, parent, ... (proc_pid_stat(5), from field 3 on)."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def proportional_bytes(process: Path) -> int:
    """The PSS of one process."""
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    return 0


def cpu_seconds(process: Path) -> float:
    """CPU time of one process and of its children that have ended."""
    return sum(map(int, fields_of(process)[11:15])) / TICKS_PER_SECOND


def totals(roots: Roots, measure: Callable[[Path], float]) -> dict[str, float]:
    """The sum over each named list of processes and all who descend from them (a database has no group in common)."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int(fields_of(process)[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since we looked
    owners = {pid: name for name, pids in roots.items() for pid in pids()}
    sums = dict.fromkeys(roots, 0.0)
    for pid in parents:
        ancestor = pid
        while ancestor not in owners and ancestor in parents:
            ancestor = parents[ancestor]
        if ancestor in owners:
            try:
                sums[owners[ancestor]] += measure(Path("/proc") / str(pid))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return sums


class PeakMemory:
    """Looks at named trees of processes until the block ends; `peak` has the largest sum of each in bytes."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self.peak = dict.fromkeys(roots, 0.0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for name, total in totals(self._roots, proportional_bytes).items():
                self.peak[name] = max(self.peak[name], total)
