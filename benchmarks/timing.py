"""Times of several pieces of work in one run, so that their ratios mean something on a shared machine."""

import time
from collections.abc import Callable, Mapping


def best_seconds(work: Mapping[str, Callable[[], object]], *, repeat: int) -> dict[str, float]:
    """The shortest time of each piece of work, taken in turns so that all of them meet the same neighbours."""
    best = dict.fromkeys(work, float("inf"))
    for _ in range(repeat):
        for name, run in work.items():
            started = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - started)
    return best
