"""Weights as integers of 20 bits, in two halves of 10, so that sums of weighted rows stay exact."""

from collections.abc import Sequence

import numpy as np

from boltz_core.aggregation.errors import AggregationError
from boltz_core.arrays import Float64Vector, Int64Vector

WEIGHT_BITS = 20
HALF_BITS = 10
MAX_WEIGHT = 2**WEIGHT_BITS - 1


def integer_weights(weights: Sequence[float] | Float64Vector) -> Int64Vector:
    """Scale weights to integers in [0, 2^20 - 1], the largest becoming 2^20 - 1; rounded to nearest, ties to even.

    A weight below about half a millionth of the largest becomes 0.

    Raises:
        AggregationError: no weights, a negative or not finite one, or none above 0.
    """
    values = np.array(weights, dtype=np.float64)
    if not (values.size and np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise AggregationError("weights are finite and not negative, and one of them is above 0")
    scaled: Int64Vector = np.rint(values / values.max() * MAX_WEIGHT).astype(np.int64)
    return scaled


def smallest_integers(weights: Sequence[float] | Float64Vector) -> Int64Vector:
    """Integers in the proportions of the weights, the smallest there are: whole numbers keep theirs exactly.

    Others are scaled as by `integer_weights`.

    Raises:
        AggregationError: as `integer_weights`.
    """
    scaled = integer_weights(weights)
    values = np.array(weights, dtype=np.float64)
    if float(values.max()) <= MAX_WEIGHT and bool((values == np.rint(values)).all()):
        scaled = values.astype(np.int64)
    smallest: Int64Vector = scaled // np.gcd.reduce(scaled)
    return smallest


def halves(weights: Sequence[int] | Int64Vector) -> tuple[Float64Vector, Float64Vector]:
    """Split integer weights into (hi, lo), both float64 integers below 2^10, with weight = hi * 2^10 + lo.

    Raises:
        AggregationError: a weight outside [0, 2^20 - 1].
    """
    values = np.array(weights, dtype=np.int64)
    if ((values < 0) | (values > MAX_WEIGHT)).any():
        raise AggregationError(f"integer weights lie in [0, {MAX_WEIGHT}]")
    return (values >> HALF_BITS).astype(np.float64), (values & (2**HALF_BITS - 1)).astype(np.float64)
