"""The geometric median: the point with the least weighted sum of distances to the rows.

Weiszfeld's iteration on coefficients, with distances from the Gram matrix, until a step is a billionth of the spread.
It is
smoothed: no distance counts as less than a millionth of the rows' median distance from their mean. An absolute number
instead makes it the plain mean for small updates.
"""

import math

import numpy as np

from boltz_core.aggregation.ordered_sums import weighted_rows
from boltz_core.aggregation.rows import Rows
from boltz_core.aggregation.rules.parameters import Parameter
from boltz_core.aggregation.rules.rule import Condition, Rule, Setting
from boltz_core.arrays import Float64Block, Float64Vector

SMOOTHING = Parameter(
    "smoothing", "the least distance that counts, relative to the median distance from the mean", 1e-12, 1.0, 1e-6
)
TOLERANCE = Parameter("tolerance", "the step at which it ends, relative to the same", 0.0, 1.0, 1e-9)
STEPS = Parameter("steps", "at most so many steps", 1, 10_000, 1000, whole=True)


def coefficients(rows: Rows, setting: Setting) -> Float64Vector:
    """The rows' shares of the geometric median; the weighted mean where all rows are equal."""
    weights = point = rows.shares
    distances = rows.distances_from(np.append(point, 0))
    spread = float(np.median(distances)) or float(distances.max())
    if spread == 0:
        return point
    least = setting.number("smoothing") * spread
    for _ in range(setting.count("steps", 0)):
        pulls = weights / np.maximum(distances, least)
        following = pulls / math.fsum(pulls)
        moved = _norm(rows.gram[:-1, :-1], following - point)
        point, distances = following, rows.distances_from(np.append(following, 0))
        if moved <= setting.number("tolerance") * spread:
            break
    return point


def _norm(gram: Float64Block, difference: Float64Vector) -> float:
    return math.sqrt(max(math.fsum(difference * weighted_rows(difference, gram)), 0.0))


def kappa(n: int, f: int) -> float:
    """Allouah et al. 2023, Table 1."""
    return 4 * (1 + f / (n - 2 * f)) ** 2


RULE = Rule(
    name="geometric_median",
    condition=Condition(2, 1),
    tolerates="less than half of the weight, whatever it holds",
    source="Pillutla et al. 2022 (arXiv:1912.13445)",
    parameters=(SMOOTHING, TOLERANCE, STEPS),
    kappa=kappa,
    weighted=True,
    needs_geometry=True,
    coefficients=coefficients,
)
