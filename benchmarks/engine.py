"""The aggregation engine: how fast each rule is beside the bars of others, how much memory it takes, and how both grow.

Three tables. Everything that is measured runs in a process of its own, on one core, with one BLAS thread; ours and the
peers get the same rows. Updates lie around a common one, as an offset that they share is what naive distances lose.

- Speed. "ours" is what a run does with staged updates: pass 1 where the rule needs it, the decision, pass 2. Norms are
  known from ingest, as they are in a run. "files" is the same from sealed segments, opened with AES-GCM, to the same
  bits. "aggregate()" is the function for arrays, which also checks them and measures norms. np.sum reads the rows once:
  the limit. A bar says how many times as fast as something "ours" has to be.
- Memory over sealed files, above what the process had before.
- Growth: nanoseconds for each number of the updates. A column that stays as it is says that cost is linear.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import engine_passes
from benchmarks.engine_updates import MadeUpdates, make_updates
from benchmarks.engine_works import WORKS, Row, Work, compared, size_of
from benchmarks.peers import engine as peers_engine
from boltz_core.aggregation.rules.registry import RULES

Result = TypeVar("Result")
Size = tuple[int, int]
RuleAfter = tuple[str, tuple[str, ...]]
MEMORY_BAR = 64.0
MEMORY_SIZES: tuple[Size, ...] = ((100, 1_000_000),)
MEMORY_SIZES_IN_FULL: tuple[Size, ...] = (*MEMORY_SIZES, (100, 10_000_000), (10, 100_000_000))
GROWTH_SIZES: tuple[Size, ...] = (
    *((members, 100_000) for members in (10, 30, 100, 300, 1000)),
    *((10, parameters) for parameters in (1_000_000, 10_000_000)),
)
GROWTH_SIZES_IN_FULL: tuple[Size, ...] = (*GROWTH_SIZES, (10, 100_000_000))
PLANS: tuple[RuleAfter, ...] = (*((rule, ()) for rule in RULES), ("trimmed_mean", ("nnm",)))
GROWING = ("weighted_mean", "trimmed_mean", "krum", "geometric_median", "bulyan")
GROWTH_REPEATS = 3


def measure(*, repeat: int, peers: bool = False, full: bool = False) -> list[Row]:
    """The rows of the three tables."""
    if peers:
        peers_engine.install()
    memory, growth = (MEMORY_SIZES_IN_FULL, GROWTH_SIZES_IN_FULL) if full else (MEMORY_SIZES, GROWTH_SIZES)
    with one_core():
        return [
            *speed(WORKS, repeat=repeat, peers=peers),
            *memory_use(memory),
            *growth_of(growth, repeat=min(repeat, GROWTH_REPEATS)),
        ]


def speed(works: Sequence[Work], *, repeat: int, peers: bool) -> list[Row]:
    """A row for each bar of each work."""
    table: list[Row] = []
    for size in dict.fromkeys((work.members, work.parameters) for work in works):
        with made_updates(size) as made:
            for work in works:
                if (work.members, work.parameters) == size:
                    table += said(compared(work, seconds_of(work, made, repeat=repeat, peers=peers)))
    return table


def seconds_of(work: Work, made: MadeUpdates, *, repeat: int, peers: bool) -> dict[str, float]:
    """Ours, the limit, and the peers'."""
    vector = made.folder / "ours.npy"
    seconds = in_own_process(engine_passes.seconds_of, work, made, vector, repeat)
    return seconds | (peers_engine.seconds_of(work, made, vector, repeat) if peers else {})


def memory_use(sizes: Sequence[Size], *, plans: Sequence[RuleAfter] = PLANS) -> list[Row]:
    """A row for each plan, with a column for each size."""
    columns: dict[str, dict[str, float]] = {}
    for members, parameters in sizes:
        works = [Work(rule, (), before, members, parameters) for rule, before in plans]
        with made_updates((members, parameters), with_rows=False) as made:
            for work in works:
                risen = in_own_process(engine_passes.mebibytes_above_idle, work, made)
                columns.setdefault(work.name, {})[f"MiB, {size_of(members, parameters)}"] = risen
    return said([{"rule": name} | risen | memory_judged(max(risen.values())) for name, risen in columns.items()])


def memory_judged(most: float) -> Row:
    """The bar of memory and what became of it."""
    return {"bar": f"below {MEMORY_BAR:g} MiB", "met": "yes" if most < MEMORY_BAR else "no"}


def growth_of(sizes: Sequence[Size], *, repeat: int, rules: Sequence[str] = GROWING) -> list[Row]:
    """A row for each size: nanoseconds a number, of reading it and of each rule."""
    table: list[Row] = []
    for members, parameters in sizes:
        works = [Work(rule, (), (), members, parameters) for rule in rules]
        with made_updates((members, parameters)) as made:
            seconds = in_own_process(engine_passes.seconds_in_memory, works, made, repeat)
        table += said([{"updates": f"{members}", "parameters": f"{parameters:.0e}"} | per_number(seconds, works[0])])
    return table


def per_number(seconds: Mapping[str, float], work: Work) -> Row:
    """Seconds as nanoseconds for each number of the updates."""
    numbers = work.members * work.parameters
    return {f"{name.removesuffix(' s')} ns": 1e9 * value / numbers for name, value in seconds.items()}


def said(rows: list[Row]) -> list[Row]:
    """The rows, which are also printed at once, apart from the tables: these take their time."""
    for row in rows:
        print(*(f"{name} {value}" for name, value in row.items()), sep=", ", file=sys.stderr, flush=True)
    return rows


@contextmanager
def made_updates(size: Size, *, with_rows: bool = True) -> Iterator[MadeUpdates]:
    """Updates on disk, which are removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="boltz-bench-") as folder:
        yield make_updates(Path(folder) / "updates", *size, with_rows=with_rows)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process and whatever it starts on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def in_own_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """What the function gives in a new process, in which nothing has been done yet."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
