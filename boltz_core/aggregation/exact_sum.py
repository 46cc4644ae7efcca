"""Weighted sums of rows on the grid, exact, so that order, shards, threads, BLAS and processor cannot matter.

Proof. A row holds integers of size K <= 2^32 (1 + 2^-18) + 1/2 (grid.py), a weight half is at most 2^10 - 1, and at
most 2^11 rows are summed in float64 before they are folded into int64:

    2^11 (2^10 - 1) K  <  2^53 (1 - 2^-10) (1 + 2^-17)  <  2^53

so every product and every partial sum, in whatever order and with or without fused multiply-add, is an integer that
float64 holds. In int64 there is room for 2^21 rows by the same count with 2^63.
"""

import numpy as np

from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.integer_weights import HALF_BITS
from boltz_core.arrays import Float64Block, Float64Vector, Int64Vector

MAX_FLOAT_ROWS = 2**11
MAX_ROWS = 2**21


class ExactSum:
    """The exact weighted sum of rows of `parameters` grid integers; usable again after `reset`."""

    def __init__(self, parameters: int) -> None:
        self._partial = np.empty((2, parameters))
        self._product = np.empty(parameters)
        self._totals = np.zeros((2, parameters), dtype=np.int64)
        self._fold = np.empty(parameters, dtype=np.int64)
        self._partial_rows = 0
        self._rows = 0

    def reset(self) -> None:
        """Start again from zero."""
        self._totals.fill(0)
        self._partial_rows = 0
        self._rows = 0

    def add(self, block: Float64Block, hi: Float64Vector, lo: Float64Vector) -> None:
        """Add weighted rows.

        Args:
            block: shape (n_rows, parameters), float64 integers from `Grid.to_grid`.
            hi, lo: shape (n_rows,), from `halves`.

        Raises:
            AggregationError: more than 2^21 rows in all.
        """
        if self._rows + len(block) > MAX_ROWS:
            raise AggregationError(f"an exact sum holds at most {MAX_ROWS} rows")
        self._rows += len(block)
        for start in range(0, len(block), MAX_FLOAT_ROWS):
            rows = slice(start, start + MAX_FLOAT_ROWS)
            self._add_few(block[rows], (hi[rows], lo[rows]))

    def totals(self) -> tuple[Int64Vector, Int64Vector]:
        """The sums under the two weight halves; the weighted sum is hi * 2^10 + lo, in units of gamma."""
        self._fold_partial()
        return self._totals[0], self._totals[1]

    def mean_into(self, out: Float64Vector, *, total_weight: float, gamma: float) -> None:
        """Write the weighted mean, in the units of the rows: (hi * 2^10 + lo) * gamma / total_weight.

        The weight is a whole number for a mean, and larger where rows were shortened. Each of the operations rounds at
        most once, in this order; the first is exact, by a power of two.

        Raises:
            AggregationError: a total weight that is not positive.
        """
        if total_weight <= 0:
            raise AggregationError(f"the total weight is {total_weight}; it must be above 0")
        # few rows need no int64: float64 holds their sums as exactly
        hi, lo = self._partial if self._partial_rows == self._rows > 0 else self.totals()
        np.multiply(hi, 2.0**HALF_BITS, out=out)
        np.add(out, lo, out=out)
        np.multiply(out, gamma, out=out)
        np.divide(out, total_weight, out=out)

    def _add_few(self, block: Float64Block, weight_halves: tuple[Float64Vector, Float64Vector]) -> None:
        """Add at most 2^11 rows: straight into the empty partial sums, else by way of the product."""
        if self._partial_rows + len(block) > MAX_FLOAT_ROWS:
            self._fold_partial()
        for half, partial in zip(weight_halves, self._partial, strict=True):
            if self._partial_rows:
                np.dot(half, block, out=self._product)
                np.add(partial, self._product, out=partial)
            else:
                np.dot(half, block, out=partial)
        self._partial_rows += len(block)

    def _fold_partial(self) -> None:
        """Move the float64 partial sums into the int64 totals."""
        if not self._partial_rows:
            return
        for partial, total in zip(self._partial, self._totals, strict=True):
            np.copyto(self._fold, partial, casting="unsafe")  # exact: integers below 2^53
            np.add(total, self._fold, out=total)
        self._partial_rows = 0
