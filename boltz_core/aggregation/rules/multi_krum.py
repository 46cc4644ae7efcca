"""Multi-Krum: the weighted mean of the rows with the least Krum scores."""

import math

import numpy as np

from boltz_core.aggregation.errors import ConditionError
from boltz_core.aggregation.rows import Rows
from boltz_core.aggregation.rules import krum
from boltz_core.aggregation.rules.parameters import Parameter
from boltz_core.aggregation.rules.rule import Condition, Rule, Setting
from boltz_core.arrays import Float64Vector

SELECTED = Parameter(
    "selected", "how many rows are averaged; left out, n - f", least=1, most=2048, default=None, whole=True
)


def coefficients(rows: Rows, setting: Setting) -> Float64Vector:
    """The selected rows' shares of their weight.

    Raises:
        ConditionError: more rows to select than there are.
    """
    selected = setting.count("selected", len(rows) - setting.byzantine)
    if selected > len(rows):
        raise ConditionError(f"Multi-Krum selects {selected} rows; there are {len(rows)}")
    least = np.argsort(krum.scores(rows, setting), kind="stable")[:selected]
    kept = np.zeros(len(rows))
    kept[least] = rows.weights[least] / math.fsum(rows.weights[least])
    return kept


RULE = Rule(
    name="multi_krum",
    condition=Condition(2, 3),
    tolerates="f arbitrary rows of n; less noise than Krum, since it averages",
    source="Blanchard et al. 2017 (arXiv:1703.02757), Section 4",
    parameters=(krum.NEIGHBOURS, SELECTED),
    weighted=True,
    needs_geometry=True,
    coefficients=coefficients,
)
