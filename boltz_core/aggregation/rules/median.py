"""The coordinate-wise median, and its weighted form."""

import numpy as np

from boltz_core.aggregation.rules.rule import Block, Condition, Rule, Setting
from boltz_core.aggregation.rules.weighted_lines import sorted_lines
from boltz_core.arrays import Float64Vector, Int64Vector


def middle_of(ordered: Block) -> Float64Vector:
    """The median of each sorted line: the middle value, or the mean of the two; in float64, where the sum is exact."""
    n = ordered.shape[1]
    middle: Float64Vector = (ordered[:, (n - 1) // 2].astype(np.float64) + ordered[:, n // 2]) * 0.5
    return middle


def weighted_middle_of(block: Block, weights: Int64Vector) -> Float64Vector:
    """The median of each line in which value i is repeated weights[i] times."""
    values, reached = sorted_lines(block, weights)
    total = int(weights.sum())
    low = (reached <= (total - 1) // 2).sum(axis=1)
    high = (reached <= total // 2).sum(axis=1)
    lines = np.arange(len(block))
    middle: Float64Vector = (values[lines, low] + values[lines, high]) * 0.5
    return middle


def statistic(block: Block, weights: Int64Vector | None, _setting: Setting) -> Float64Vector:
    """The median of each line of a block of shape (coordinates, rows), which is used up."""
    if weights is not None:
        return weighted_middle_of(block, weights)
    block.sort(axis=1)
    return middle_of(block)


def kappa(n: int, f: int) -> float:
    """Allouah et al. 2023, Table 1."""
    return 4 * (1 + f / (n - 2 * f)) ** 2


RULE = Rule(
    name="median",
    condition=Condition(2, 1),
    tolerates="less than half of the weight, whatever it holds; stays in the honest range of each coordinate",
    source="Yin et al. 2018 (arXiv:1803.01498), Definition 1",
    kappa=kappa,
    weighted=True,
    statistic=statistic,
)
