"""A run: take the fence, measure, decide, combine by parameter ranges, publish. From each step to the next.

What needs no more than norms and example counts is not measured: it has been decided when the run begins.

Shards are done by a chord when there is more than one; the chord is an accelerator: the barrier is the set of Shard
rows, so that a lost message, a doubled one or a member that was killed changes nothing but the time it takes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import celery

from apps import dispatch
from apps.aggregation.models import Phase, Run
from apps.aggregation.services import beginning, combining, measuring, publication, ranges


@dataclass(frozen=True)
class Pass:
    """One pass over the staged updates: what is done for each range, and then; each by its task and here."""

    phase: Phase
    shard_task: str
    shard: Callable[[int, int], object]
    after_task: str
    after: Callable[[int], object]


def aggregate_round(round_id: int) -> None:
    """Begin a run of a frozen round, or take over one whose lease has run out; otherwise nothing happens."""
    run = beginning.begin_run(round_id)
    if run is not None:
        start(run)


def pass_of(run: Run) -> Pass:
    """The pass that a running run is at."""
    if run.decision is None:
        return Pass(Phase.MEASURE, dispatch.MEASURE_SHARD, measure_shard, dispatch.DECIDE_RUN, decide_run)
    return Pass(Phase.COMBINE, dispatch.COMBINE_SHARD, combine_shard, dispatch.FINISH_RUN, publication.finish_run)


def start(run: Run) -> None:
    """Begin the pass that a run is at: a single range here and now, several by a chord."""
    own = pass_of(run)
    if run.shards == 1:
        own.shard(run.pk, 0)
        own.after(run.pk)
    else:
        start_chord(run, own)


def carry_out(run: Run) -> None:
    """Do whatever a run still lacks, in this process."""
    if run.decision is None:
        for number in range(run.shards):
            measure_shard(run.pk, number)
        measuring.decide_run(run.pk)
    for number in range(run.shards):
        combine_shard(run.pk, number)
    publication.finish_run(run.pk)


def start_chord(run: Run, own: Pass) -> None:
    """A task for each range, then what comes after; what the broker does not take is done here."""
    app = celery.current_app
    header = [app.signature(own.shard_task, args=[run.pk, number], immutable=True) for number in range(run.shards)]
    try:
        celery.chord(header, app=app)(app.signature(own.after_task, args=[run.pk], immutable=True))
    except Exception as error:  # noqa: BLE001 - whatever the broker's client raises, the run is in Postgres
        dispatch.logger.warning("could not start the chord of %s: %s", run, type(error).__name__)
        continue_run(run)


def continue_run(run: Run) -> None:
    """Send what a running run still lacks: missing shards of its pass, or what comes after them."""
    own = pass_of(run)
    done = numbers_done(run, own)
    missing = [number for number in range(run.shards) if number not in done]
    for number in missing:
        dispatch.kick(own.shard_task, own.shard, run.pk, number)
    if not missing or numbers_done(run, own) == set(range(run.shards)):
        dispatch.kick(own.after_task, own.after, run.pk)


def numbers_done(run: Run, own: Pass) -> set[int]:
    """The ranges that a pass has done."""
    return {shard.number for shard in ranges.done_in(run, own.phase)}


def measure_shard(run_id: int, number: int) -> None:
    """Measure one range, once. When a member is found to be damaged, the round goes on without it."""
    removed_from = measuring.measure_shard(run_id, number)
    if removed_from is not None:
        aggregate_round(removed_from)


def decide_run(run_id: int) -> None:
    """Decide a run whose geometry is all there, and begin to combine."""
    run = measuring.decide_run(run_id)
    if run is not None:
        start(run)


def combine_shard(run_id: int, number: int) -> None:
    """Combine one range, once. When a member is found to be damaged, the round goes on without it."""
    removed_from = combining.combine_shard(run_id, number)
    if removed_from is not None:
        aggregate_round(removed_from)
