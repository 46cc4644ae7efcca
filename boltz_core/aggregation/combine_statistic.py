"""Pass 2 of a statistic: mixed rows, 1024 coordinates at a time, one segment after the other.

Rows are integers on the grid. A mixed row is an exact integer sum, divided and rounded to the grid again: whatever the
order of members, BLAS or processor, the statistic sees the same integers (exact_sum.py has the proof). Only one segment
of each member is held.
"""

from collections.abc import Iterator

import numpy as np

from boltz_core.aggregation.decision import Decision, Planned
from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.exact_sum import MAX_FLOAT_ROWS
from boltz_core.aggregation.integer_weights import HALF_BITS, halves
from boltz_core.aggregation.mixed_row import MixedRow
from boltz_core.aggregation.rules.rule import Block, Setting
from boltz_core.aggregation.segment_rows import OpenSegment, SegmentRows
from boltz_core.aggregation.shards import ParameterRange
from boltz_core.arrays import Float32Block, Float64Vector, Int64Vector
from boltz_core.ingest.segments import SEGMENT_PARAMETERS, segment_parameters

COORDINATES = 1024


def statistic_of_range(
    span: ParameterRange, decision: Decision, planned: Planned, open_segment: OpenSegment
) -> Iterator[Float64Vector]:
    """As `combine.combine_range`, for a decision whose rule is a statistic."""
    mixer = Mixer(planned.rows, decision.weights)
    segment_rows = SegmentRows(mixer.members)
    setting = Setting(planned.byzantine, planned.plan.parameters)
    out = np.empty(SEGMENT_PARAMETERS)
    rule = planned.plan.rule
    for segment in range(span.first_segment, span.last_segment_exclusive):
        parameters = segment_parameters(segment, span.stop)
        values = segment_rows.read(segment, parameters, open_segment)
        decision.grid.round_to_grid(values)
        for start in range(0, parameters, COORDINATES):
            lines = mixer.lines(values[:, start : start + COORDINATES])
            statistic = rule.of_lines(lines, mixer.weights, setting)
            np.multiply(statistic, decision.grid.gamma, out=out[start : start + len(statistic)])
        yield out[:parameters]


class Mixer:
    """The mixed rows of a block of grid integers, as lines: shape (coordinates, rows).

    `members` are those that have to be read, `weights` those of the rows, None where they are equal.
    """

    def __init__(self, rows: tuple[MixedRow, ...] | None, member_weights: tuple[int, ...]) -> None:
        alone = rows is None or all(len(row.members) == 1 and row.mass == 1 for row in rows)
        used = range(len(member_weights)) if rows is None else sorted({j for row in rows for j in row.members})
        weights = member_weights if rows is None else tuple(row.weight for row in rows)
        if len(used) > MAX_FLOAT_ROWS:
            raise AggregationError(f"a statistic takes at most {MAX_FLOAT_ROWS} members; got {len(used)}")
        self.members = tuple(used)
        self.weights: Int64Vector | None = None if len(set(weights)) == 1 else np.array(weights, dtype=np.int64)
        self._mixing = None if alone else _Mixing(rows or (), self.members)
        self._lines = np.empty(COORDINATES * len(weights), dtype="<f4")

    def lines(self, block: Float32Block) -> Block:
        """The lines of a block of shape (members, coordinates). They are overwritten by the next ones."""
        if self._mixing is not None:
            return self._mixing.lines(block)
        lines = self._lines[: block.size].reshape(block.shape[::-1])
        np.copyto(lines, block.T)
        return lines


class _Mixing:
    """Rows that are sums of members, as one or two matrix products."""

    def __init__(self, rows: tuple[MixedRow, ...], members: tuple[int, ...]) -> None:
        place = {member: column for column, member in enumerate(members)}
        weights = np.zeros((len(members), len(rows)), dtype=np.int64)
        for line, row in enumerate(rows):
            weights[[place[member] for member in row.members], line] = row.weights
        high, low = halves(weights.ravel())
        self._low = low.reshape(weights.shape)
        self._high = high.reshape(weights.shape) if high.any() else None
        self._divisors = np.array([row.divisor for row in rows])
        self._block = np.empty(len(members) * COORDINATES)
        self._sums = np.empty((2, COORDINATES * len(rows)))

    def lines(self, block: Float32Block) -> Block:
        wide = self._block[: block.size].reshape(block.shape)
        np.copyto(wide, block)
        sums = self._product(wide, self._low, 0)
        if self._high is not None:
            high = self._product(wide, self._high, 1)
            np.multiply(high, 2.0**HALF_BITS, out=high)
            np.add(sums, high, out=sums)
        np.divide(sums, self._divisors, out=sums)
        return np.rint(sums, out=sums)

    def _product(self, block: Block, weights: Block, buffer: int) -> Block:
        shape = (block.shape[1], weights.shape[1])
        return np.dot(block.T, weights, out=self._sums[buffer, : shape[0] * shape[1]].reshape(shape))
