"""The gate: updates whose norm alone puts them out, before anything else looks at them.

Past the hard bound, or past 4 times the median norm. The second stops boosted updates within a generous bound, and rows
that would ruin the numeric conditioning of all others. The median of a set in which attackers are fewer than half lies
in the honest range, so they cannot move the gate onto everybody. Where the median is 0 it says nothing and is not
applied.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boltz_core.ingest.staging import NORM_TOLERANCE

MEDIANS = 4.0


@dataclass(frozen=True)
class Gate:
    """What the norms say: for each update why it is out, or None."""

    median_norm: float
    reasons: tuple[str | None, ...]


def gate_norms(norms: Sequence[float], *, bound: float) -> Gate:
    """Judge norms, which are finite and not negative; the order does not matter."""
    within = [norm for norm in norms if norm <= bound * (1 + NORM_TOLERANCE)]
    median = float(np.median(within)) if within else 0.0

    def reason(norm: float) -> str | None:
        if norm > bound * (1 + NORM_TOLERANCE):
            return f"norm {norm:.6g} is beyond the hard bound {bound:.6g}"
        if 0 < MEDIANS * median < norm:
            return f"norm {norm:.6g} is more than {MEDIANS:g} times the median norm {median:.6g}"
        return None

    return Gate(median, tuple(reason(norm) for norm in norms))
