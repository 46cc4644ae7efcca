"""Lines of weighted values, sorted: the ground of the weighted median and the weighted trimmed mean.

Value i of a line counts as repeated weights[i] times. Whole numbers, such as those on the grid, are sorted with the
index in
the same number: value * 2^11 + index, an exact integer of float64. That is several times faster than an argsort, and
equal values stay in the order of their indexes. Other numbers, which only comparisons have, take the slow way to the
same order.
"""

import numpy as np

from boltz_core.aggregation.rules.rule import Block
from boltz_core.arrays import Float64Block, Int64Vector

_INDEXES = 2.0**11
_LARGEST = 2.0**41


def sorted_lines(block: Block, weights: Int64Vector) -> tuple[Float64Block, Float64Block]:
    """The values of each line in rising order, and how many repeats are reached with each of them.

    Args:
        block: shape (lines, n), n at most 2^11.
        weights: shape (n,), integers below 2^20, so that sums of them are exact in float64.
    """
    values = block.astype(np.float64)
    largest = max(float(values.max()), -float(values.min()))
    if largest <= _LARGEST and len(weights) <= _INDEXES and np.array_equal(np.rint(values), values):
        indexes = _sort_packed(values)
    else:
        indexes = np.argsort(values, axis=1, kind="stable")
        values = np.take_along_axis(values, indexes, axis=1)
    reached = weights.astype(np.float64).take(indexes)
    return values, np.cumsum(reached, axis=1, out=reached)


def _sort_packed(values: Float64Block) -> Block:
    """Sort each line of whole numbers in place; return the indexes that the numbers had."""
    np.multiply(values, _INDEXES, out=values)
    np.add(values, np.arange(values.shape[1]), out=values)
    values.sort(axis=1)
    packed = values / _INDEXES
    np.floor(packed, out=packed)
    np.subtract(values, packed * _INDEXES, out=values)
    indexes = values.astype(np.intp)
    np.copyto(values, packed)
    return indexes
