"""Norm clipping: rows longer than the clip norm are shortened to it."""

import numpy as np

from boltz_core.aggregation.rows import Rows
from boltz_core.aggregation.rules.centered_clipping import clip_factors
from boltz_core.aggregation.rules.parameters import Parameter
from boltz_core.aggregation.rules.rule import Condition, Setting, Step

CLIP_NORM = Parameter("clip_norm", "the longest norm that is left; left out, the rows' median norm", 1e-30, 1e30, None)


def mix(rows: Rows, setting: Setting) -> Rows:
    """Each row by its factor."""
    longest = setting.parameters["clip_norm"]
    if longest is None:
        longest = float(np.median(rows.norms))
    return rows.mixed(np.diag(clip_factors(rows.norms, float(longest))), rows.weights)


STEP = Step(
    name="norm_clip",
    condition=Condition(0, 1),
    tolerates="nothing by itself; no row counts for more than the clip norm",
    source="Sun et al. 2019 (arXiv:1911.07963)",
    parameters=(CLIP_NORM,),
    mix=mix,
    rows_after=lambda n, _parameters: n,
)
