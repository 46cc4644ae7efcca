"""Krum: the row whose n - f - 2 nearest neighbours are nearest.

The paper's number of neighbours; other libraries take n - f - 1. Sums of distances are integers, so that a tie is a tie
on every processor; it goes to the row that comes first.
"""

import numpy as np

from boltz_core.aggregation.errors import ConditionError
from boltz_core.aggregation.rows import Rows
from boltz_core.aggregation.rules.parameters import Parameter
from boltz_core.aggregation.rules.rule import Condition, Rule, Setting
from boltz_core.arrays import Float64Block, Float64Vector, Int64Vector

DISTANCE_BITS = 51  # 2^11 of them still sum to an int64

NEIGHBOURS = Parameter(
    "neighbours", "how many nearest rows are summed; left out, n - f - 2", least=1, most=2048, default=None, whole=True
)


def integer_distances(distances_squared: Float64Block) -> Int64Vector:
    """Squared distances as integers of at most 2^51, the largest becoming that."""
    largest = float(distances_squared.max())
    if largest == 0:
        return np.zeros(distances_squared.shape, dtype=np.int64)
    return np.rint(distances_squared / largest * 2.0**DISTANCE_BITS).astype(np.int64)


def scores(rows: Rows, setting: Setting) -> Int64Vector:
    """Each row's sum of squared distances to its nearest others.

    Raises:
        ConditionError: more neighbours asked for than there are others.
    """
    n = len(rows)
    neighbours = setting.count("neighbours", n - setting.byzantine - 2)
    if not 1 <= neighbours < n:
        raise ConditionError(f"Krum sums {neighbours} neighbours; {n} rows have {n - 1} each")
    ordered = np.sort(integer_distances(rows.distances_squared), axis=1)
    summed: Int64Vector = ordered[:, 1 : neighbours + 1].sum(axis=1)  # the first is the row itself
    return summed


def coefficients(rows: Rows, setting: Setting) -> Float64Vector:
    """1 for the row with the least score."""
    chosen = np.zeros(len(rows))
    chosen[int(np.argmin(scores(rows, setting)))] = 1
    return chosen


def kappa(n: int, f: int) -> float:
    """Allouah et al. 2023, Table 1."""
    return 6 * (1 + f / (n - 2 * f))


RULE = Rule(
    name="krum",
    condition=Condition(2, 3),
    tolerates="f arbitrary rows of n; the result is one row, so it has one row's noise",
    source="Blanchard et al. 2017 (arXiv:1703.02757), Section 4",
    parameters=(NEIGHBOURS,),
    kappa=kappa,
    needs_geometry=True,
    coefficients=coefficients,
)
