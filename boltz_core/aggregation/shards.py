"""Splitting a vector into parameter ranges, one for each shard task of the chord; borders fall between segments."""

from dataclasses import dataclass
from itertools import pairwise

from boltz_core.ingest.segments import SEGMENT_PARAMETERS, segment_count


@dataclass(frozen=True)
class ParameterRange:
    """Segments [first_segment, last_segment_exclusive), which are parameters [start, stop)."""

    first_segment: int
    last_segment_exclusive: int
    start: int
    stop: int

    @property
    def parameters(self) -> int:
        """How many parameters the range holds."""
        return self.stop - self.start


def plan_shards(parameters: int, *, max_shards: int = 32, min_parameters: int = 1 << 21) -> tuple[ParameterRange, ...]:
    """Split `parameters` into as many even ranges as hold `min_parameters` each, at least 1 and at most `max_shards`.

    Raises:
        ValueError: an argument below 1.
    """
    if min(parameters, max_shards, min_parameters) < 1:
        raise ValueError("parameters, max_shards and min_parameters are at least 1")
    segments = segment_count(parameters)
    shards = max(1, min(max_shards, parameters // min_parameters, segments))
    borders = [shard * segments // shards for shard in range(shards + 1)]
    return tuple(
        ParameterRange(first, last, first * SEGMENT_PARAMETERS, min(last * SEGMENT_PARAMETERS, parameters))
        for first, last in pairwise(borders)
    )
