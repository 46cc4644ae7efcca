"""The weighted mean: what everybody agrees on when nobody cheats."""

from boltz_core.aggregation.rows import Rows
from boltz_core.aggregation.rules.rule import Condition, Rule, Setting
from boltz_core.arrays import Float64Vector


def coefficients(rows: Rows, _setting: Setting) -> Float64Vector:
    """Each row's share of the weight."""
    return rows.shares


RULE = Rule(
    name="weighted_mean",
    condition=Condition(0, 1),
    tolerates="nothing: one row within the bound moves it as far as its weight allows",
    source="McMahan et al. 2017 (arXiv:1602.05629)",
    weighted=True,
    coefficients=coefficients,
)
