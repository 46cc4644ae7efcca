"""The coordinate-wise trimmed mean, and its weighted form.

The share f / n of the weight is dropped at each end of each coordinate: f values, where weights are equal.
"""

import numpy as np

from boltz_core.aggregation.integer_weights import HALF_BITS
from boltz_core.aggregation.rules.rule import Block, Condition, Rule, Setting
from boltz_core.aggregation.rules.weighted_lines import sorted_lines
from boltz_core.arrays import Float64Vector, Int64Vector


def statistic(block: Block, weights: Int64Vector | None, setting: Setting) -> Float64Vector:
    """The trimmed mean of each line of a block of shape (coordinates, rows), which is used up.

    Grid numbers are integers of at most 2^33, so sums of up to 2^11 of them are exact in any order.
    """
    if weights is not None:
        return _weighted(block, weights, setting.byzantine)
    n = block.shape[1]
    if setting.byzantine:
        block.sort(axis=1)
    kept = block[:, setting.byzantine : n - setting.byzantine]
    mean: Float64Vector = np.add.reduce(kept, axis=1, dtype=np.float64) / kept.shape[1]
    return mean


def _weighted(block: Block, weights: Int64Vector, byzantine: int) -> Float64Vector:
    """The same with value i repeated weights[i] times; the drop is rounded to a whole number of repeats.

    The weights that are kept, below 2^20, go in two halves of 10 bits, so that both sums are exact.
    """
    total = int(weights.sum())
    dropped = (2 * total * byzantine + len(weights)) // (2 * len(weights))
    values, reached = sorted_lines(block, weights)
    np.clip(reached, dropped, total - dropped, out=reached)
    kept = np.diff(reached, axis=1, prepend=dropped)
    high = np.floor(kept / 2.0**HALF_BITS)
    np.subtract(kept, high * 2.0**HALF_BITS, out=kept)
    summed = np.einsum("ij,ij->i", high, values) * 2.0**HALF_BITS + np.einsum("ij,ij->i", kept, values)
    mean: Float64Vector = summed / (total - 2 * dropped)
    return mean


def kappa(n: int, f: int) -> float:
    """Allouah et al. 2023, Table 1."""
    return 6 * f / (n - 2 * f) * (1 + f / (n - 2 * f))


RULE = Rule(
    name="trimmed_mean",
    condition=Condition(2, 1),
    tolerates="f arbitrary rows of n, or their share of the weight; stays in the honest range of each coordinate",
    source="Yin et al. 2018 (arXiv:1803.01498), Definition 2",
    kappa=kappa,
    weighted=True,
    statistic=statistic,
)
