"""Nearest-neighbour mixing: each row becomes the mean of its n - f nearest, itself among them.

With weights, of the nearest that hold the share 1 - f / n of the weight; the last of them counts in part.
"""

import numpy as np

from boltz_core.aggregation.rows import Rows
from boltz_core.aggregation.rules.rule import Condition, Setting, Step


def mix(rows: Rows, setting: Setting) -> Rows:
    """A mixture for each row, which keeps the row's weight."""
    order = np.argsort(rows.distances_squared, axis=1, kind="stable")
    weights = rows.weights[order]
    reached = np.cumsum(weights, axis=1)
    total = float(np.cumsum(rows.weights)[-1])
    wanted = total - total * setting.byzantine / len(rows)
    taken = np.clip(wanted - (reached - weights), 0, weights)
    mixing = np.zeros_like(taken)
    np.put_along_axis(mixing, order, taken / wanted, axis=1)
    return rows.mixed(mixing, rows.weights)


STEP = Step(
    name="nnm",
    condition=Condition(2, 1),
    tolerates="f of n; brings honest rows together, so that the rule behind it errs less",
    source="Allouah et al. 2023 (arXiv:2302.01772), Algorithm 2",
    parameters=(),
    mix=mix,
    rows_after=lambda n, _parameters: n,
    weighted=True,
    needs_geometry=True,
)
