"""The parameter ranges of a run, and the rows that say which of them are done."""

from apps.aggregation.models import Run, Shard
from boltz_core.aggregation import shards


def range_of(run: Run, number: int) -> shards.ParameterRange:
    """One range of a run; it follows from the number of shards that the run was begun with."""
    return shards.plan_shards(run.round.model.parameters, max_shards=run.shards, min_parameters=1)[number]


def is_missing(run: Run, phase: str, number: int) -> bool:
    """Whether a running run still lacks this range."""
    return run.state == "running" and not run.results.filter(phase=phase, number=number).exists()


def write_once(shard: Shard) -> None:
    """Note that a range is done, unless somebody else has meanwhile."""
    span = range_of(shard.run, shard.number)
    shard.start, shard.stop = span.start, span.stop
    Shard.objects.bulk_create([shard], ignore_conflicts=True)


def done_in(run: Run, phase: str) -> list[Shard]:
    """The ranges that a pass has done, in order."""
    return list(run.results.filter(phase=phase).order_by("number"))
