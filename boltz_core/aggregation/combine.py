"""Pass 2 of an aggregation: what was decided, carried out on the members' staged vectors over one parameter range.

A weighted sum is made here, a coordinate-wise statistic in combine_statistic.py.

Rows are streamed segment by segment through one small block of reused memory, so N x d numbers are never held: 16
rows of a segment (1 MiB as float32, 2 MiB on the grid) stay in cache from decryption to product. Sums are exact
(exact_sum.py): the bits of the result do not depend on how ranges are cut, on the order of rows, or on the block's
height.
"""

from collections.abc import Iterator

import numpy as np

from boltz_core.aggregation.combine_statistic import statistic_of_range
from boltz_core.aggregation.decision import Decision
from boltz_core.aggregation.exact_sum import ExactSum
from boltz_core.aggregation.integer_weights import halves
from boltz_core.aggregation.segment_rows import OpenSegment
from boltz_core.aggregation.shards import ParameterRange
from boltz_core.arrays import Float64Vector
from boltz_core.ingest.segments import SEGMENT_PARAMETERS

ROWS_IN_CACHE = 16


def combine_range(
    span: ParameterRange, decision: Decision, open_segment: OpenSegment, *, rows_per_block: int = ROWS_IN_CACHE
) -> Iterator[Float64Vector]:
    """Carry out a decision over one parameter range, one segment after the other.

    Args:
        span: from `plan_shards`.
        decision: members in the order of their indexes, with their integer weights and the round's bound.
        open_segment: called with (member index, segment index, out); fills `out`, which is as long as the segment. A
            member that the result does not depend on is not asked for.
        rows_per_block: rows held at a time by a weighted sum; any number gives the same bits.

    Yields:
        Shape (parameters of the segment,), float64, in the units of the updates. It is overwritten by the next one.

    Raises:
        AggregationError: a staged number beyond the bound.
        SegmentError: as `open_segment` raises it.
    """
    if decision.planned is not None and not decision.is_linear:
        yield from statistic_of_range(span, decision, decision.planned, open_segment)
        return
    mean = np.empty(SEGMENT_PARAMETERS)
    summer = _SegmentSum(decision, open_segment, min(rows_per_block, len(decision.members)))
    for index in range(span.first_segment, span.last_segment_exclusive):
        parameters = min(SEGMENT_PARAMETERS, span.stop - index * SEGMENT_PARAMETERS)
        part = mean[:parameters]
        exact = summer.sum_segment(index, parameters)
        exact.mean_into(part, total_weight=decision.divisor, gamma=decision.grid.gamma)
        yield part


class _SegmentSum:
    """The buffers of one range, and the loop over the members of one segment."""

    def __init__(self, decision: Decision, open_segment: OpenSegment, rows: int) -> None:
        self._members = [member for member, weight in enumerate(decision.weights) if weight]
        self._grid = decision.grid
        self._hi, self._lo = halves([decision.weights[member] for member in self._members])
        self._open_segment = open_segment
        self._rows = rows
        self._values = np.empty(rows * SEGMENT_PARAMETERS, dtype="<f4")
        self._integers = np.empty(rows * SEGMENT_PARAMETERS)
        self._exact = ExactSum(SEGMENT_PARAMETERS)

    def sum_segment(self, index: int, parameters: int) -> ExactSum:
        """The exact sum of segment `index` over all members; only the model's last segment is short."""
        if parameters == SEGMENT_PARAMETERS:
            exact = self._exact
            exact.reset()
        else:
            exact = ExactSum(parameters)
        for first in range(0, len(self._members), self._rows):
            last = min(first + self._rows, len(self._members))
            shape = (last - first, parameters)
            values = self._values[: shape[0] * parameters].reshape(shape)
            integers = self._integers[: shape[0] * parameters].reshape(shape)
            for row, member in zip(values, self._members[first:last], strict=True):
                self._open_segment(member, index, row)
            self._grid.to_grid(values, integers)
            exact.add(integers, self._hi[first:last], self._lo[first:last])
        return exact
