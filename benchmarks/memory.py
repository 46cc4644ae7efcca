"""Proportional memory of process groups (PSS): what is shared is counted once, however many processes share it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

LOOK_SECONDS = 0.1


def group_of(process: Path) -> int:
    """The process group of a /proc directory."""
    return int((process / "stat").read_text().rpartition(")")[2].split()[2])


def proportional_bytes(process: Path) -> int:
    """The PSS of one process."""
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    return 0


class PeakMemory:
    """Looks at named lists of process groups until the block ends; `peak` has the largest sum of each in bytes."""

    def __init__(self, groups: Mapping[str, Callable[[], Sequence[int]]]) -> None:
        self._groups = groups
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self.peak = dict.fromkeys(groups, 0)

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
            for name, total in self._totals().items():
                self.peak[name] = max(self.peak[name], total)

    def _totals(self) -> dict[str, int]:
        owners = {group: name for name, groups in self._groups.items() for group in groups()}
        totals = dict.fromkeys(self._groups, 0)
        for process in Path("/proc").glob("[0-9]*"):
            try:
                name = owners.get(group_of(process))
                if name is not None:
                    totals[name] += proportional_bytes(process)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended since we looked
        return totals
