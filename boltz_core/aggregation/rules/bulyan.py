"""Bulyan: Krum picks n - 2f rows, one after the other; each coordinate is the mean of the values nearest its median.

Krum looks at whole rows, and one coordinate can hide in them; the second half stops that. Of theta picked rows theta -
2f values are kept in each coordinate. Near the end Krum's m - f - 2 neighbours of the m rows left would be none: it
then takes one, and the last row that is left is picked as it is.
"""

import numpy as np

from boltz_core.aggregation.rows import Rows
from boltz_core.aggregation.rules.krum import integer_distances
from boltz_core.aggregation.rules.median import middle_of
from boltz_core.aggregation.rules.rule import Block, Condition, Rule, Setting
from boltz_core.arrays import Float64Vector, Int64Vector


def pick(rows: Rows, setting: Setting) -> list[int]:
    """The picked rows, in the order of the rows.

    Each row's distances are sorted once; what was picked is then cut out of all of them.
    """
    distances = integer_distances(rows.distances_squared)
    alive = np.arange(len(rows))
    order = np.argsort(distances, axis=1, kind="stable")
    order = order[order != alive[:, None]].reshape(len(rows), -1)
    near = np.take_along_axis(distances, order, axis=1)
    picked: list[int] = []
    while len(picked) < len(rows) - 2 * setting.byzantine:
        neighbours = max(1, len(alive) - setting.byzantine - 2)
        best = int(np.argmin(near[:, :neighbours].sum(axis=1)))
        picked.append(int(alive[best]))
        alive, order, near = (np.delete(part, best, axis=0) for part in (alive, order, near))
        left = order != picked[-1]
        order, near = (part[left].reshape(len(alive), max(0, len(alive) - 1)) for part in (order, near))
    return sorted(picked)


def statistic(block: Block, _weights: Int64Vector | None, setting: Setting) -> Float64Vector:
    """The mean of the theta - 2f values nearest the median of each line; the smaller of two equally near ones.

    In a sorted line they stand together. The window moves up one place as long as the value that it leaves is farther
    from the median than the one that it takes in, which is so for a first stretch of places and then never again.

    Args:
        block: shape (coordinates, rows); sorted in place.
    """
    block.sort(axis=1)
    dropped = 2 * setting.byzantine
    kept = block.shape[1] - dropped
    values = block.astype(np.float64)
    twice_median = 2 * middle_of(values)[:, None]
    start = (values[:, :dropped] + values[:, kept : kept + dropped] < twice_median).sum(axis=1)[:, None]
    window: Int64Vector = start + np.arange(kept)
    mean: Float64Vector = np.take_along_axis(values, window, axis=1).sum(axis=1) / kept
    return mean


RULE = Rule(
    name="bulyan",
    condition=Condition(4, 3),
    tolerates="f arbitrary rows of n, in each coordinate too",
    source="El Mhamdi et al. 2018 (arXiv:1802.07927), Section 4",
    needs_geometry=True,
    pick=pick,
    statistic=statistic,
)
