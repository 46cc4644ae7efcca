"""The Gram matrix of one block of centred rows, exact, so that BLAS, threads and processor cannot matter.

1. Centre: from each column half the sum of its largest and smallest number is taken away, in float32. Any centre
   serves, since distances do not see it, and this one is elementwise and the same for rows in any order. Without it
   rows that share an offset lose their distances to rounding.
2. Quantise: each row is rounded to integers of at most 2^20, on a power of two taken from its own largest number in
   the block. The error is at most 2^-21 of that number, for each of up to 8192 columns.
3. Multiply. Proof that the product is exact: a product of two integers is at most 2^40, a sum of 8192 of them at most
   2^53, and so is every partial sum, in whatever order and with or without fused multiply-add.

Rows other than members (the origin, reference vectors) have no say in the centre.
"""

import numpy as np

from boltz_core.aggregation.errors import AggregationError
from boltz_core.arrays import Float32Block, Float64Block, Int64Vector

GRAM_COLUMNS = 8192
QUANTUM_BITS = 20
_LEAST_EXPONENT = -100  # below it a float32 scale would overflow; a grid's least bound is 2^-99.7


class GramBlock:
    """Reused buffers for the blocks of one range."""

    def __init__(self, rows: int, members: int) -> None:
        self._members = members
        self._integers = np.empty(rows * GRAM_COLUMNS)

    def gram(self, block: Float32Block) -> tuple[Float64Block, Int64Vector]:
        """The exact Gram matrix of the centred and quantised rows.

        Args:
            block: shape (rows, at most 8192), float32, the members first. It is used up.

        Returns:
            Integers of shape (rows, rows), and the exponents e of the rows' quanta: the dot of rows i and j is
            integers[i, j] * 2^(e[i] + e[j]).

        Raises:
            AggregationError: a number that is not finite, or so large that its distance to another is not.
        """
        members = block[: self._members]
        with np.errstate(over="ignore", invalid="ignore"):
            centre = members.max(axis=0) * np.float32(0.5) + members.min(axis=0) * np.float32(0.5)
            np.subtract(block, centre, out=block)
        exponents = self._quantise(block)
        integers = self._integers[: block.size].reshape(block.shape)
        np.copyto(integers, block)
        return integers @ integers.T, exponents

    @staticmethod
    def _quantise(block: Float32Block) -> Int64Vector:
        """Round each row to integers of at most 2^20, in place; return the exponents of their quanta."""
        largest = np.maximum(block.max(axis=1), -block.min(axis=1))
        if not np.isfinite(largest).all():
            raise AggregationError("a row holds a number that is not finite, or is too far from the others")
        exponents = np.maximum(np.frexp(largest)[1], _LEAST_EXPONENT)
        np.multiply(block, np.ldexp(np.float32(1), QUANTUM_BITS - exponents)[:, None], out=block)
        np.rint(block, out=block)
        quanta: Int64Vector = (exponents - QUANTUM_BITS).astype(np.int64)
        return quanta
