"""Centred clipping: a mean of steps from a centre, each cut to a radius; the result is the next centre.

The first centre is the origin, "no change". With the default radius, the median norm, a row has at most the pull of a
typical one. The paper starts from the previous round's result and bounds the error for f <= n / 10.
"""

import math

import numpy as np

from boltz_core.aggregation.rows import Rows, settled_mass
from boltz_core.aggregation.rules.parameters import Parameter
from boltz_core.aggregation.rules.rule import Condition, Rule, Setting
from boltz_core.arrays import Float64Vector

RADIUS = Parameter("radius", "the longest step from the centre; left out, the median norm", 1e-30, 1e30, None)
STEPS = Parameter("steps", "how often the centre moves", 1, 1000, 3, whole=True)


def coefficients(rows: Rows, setting: Setting) -> Float64Vector:
    """The rows' coefficients in the last centre; they are not negative and sum to at most 1."""
    centre, shares = np.zeros(len(rows)), rows.shares
    radius = setting.parameters["radius"]
    for _ in range(setting.count("steps", 0)):
        distances = rows.distances_from(np.append(centre, 1 - settled_mass(math.fsum(centre))))
        if radius is None:
            radius = float(np.median(distances))
        pulls = shares * clip_factors(distances, float(radius))
        centre = centre * (1 - settled_mass(math.fsum(pulls))) + pulls
    return centre


def clip_factors(norms: Float64Vector, longest: float) -> Float64Vector:
    """What shortens each norm to `longest`, at most 1."""
    factors = np.ones(len(norms))
    np.divide(longest, norms, out=factors, where=norms > longest)
    return factors


RULE = Rule(
    name="centered_clipping",
    condition=Condition(2, 1),
    tolerates="f of n by bounding what each row can do: f times the radius over n, in each step",
    source="Karimireddy et al. 2021 (arXiv:2012.10333), Section 4",
    parameters=(RADIUS, STEPS),
    weighted=True,
    needs_geometry=True,
    coefficients=coefficients,
)
