"""Small matrix products that are summed in one fixed order, elementwise.

The decision is made from N x N numbers, and BLAS sums those in an order that depends on the processor. Here rows are
added one after the other, each by elementwise multiplication and addition, which IEEE 754 fixes to the bit.
"""

import numpy as np

from boltz_core.arrays import Float64Block, Float64Vector

ROWS_IN_CACHE = 32


def weighted_rows(weights: Float64Vector, rows: Float64Block) -> Float64Vector:
    """The sum of weights[j] * rows[j], in the order of j."""
    total = np.zeros(rows.shape[1])
    product = np.empty(rows.shape[1])
    for weight, row in zip(weights, rows, strict=True):
        np.multiply(row, weight, out=product)
        np.add(total, product, out=total)
    return total


def ordered_product(left: Float64Block, right: Float64Block) -> Float64Block:
    """The matrix product, each of its numbers summed in the order of the inner index.

    Some rows at a time, so that their sums stay in cache. Zeros in a whole column of them cost nothing: adding their
    products would change nothing either, since no sum here is -0.
    """
    product = np.zeros((len(left), right.shape[1]))
    for start in range(0, len(left), ROWS_IN_CACHE):
        block, sums = left[start : start + ROWS_IN_CACHE], product[start : start + ROWS_IN_CACHE]
        term = np.empty_like(sums)
        for inner in np.flatnonzero(block.any(axis=0)):
            np.multiply(block[:, inner, None], right[inner], out=term)
            np.add(sums, term, out=sums)
    return product
