"""From the combined step to the next weights.

Elementwise IEEE operations only, so a replay gives the same bits.
"""

import numpy as np

from boltz_core.aggregation.errors import AggregationError
from boltz_core.arrays import Float32Vector, Float64Vector


def apply_step(weights: Float32Vector, step: Float64Vector) -> None:
    """Make the base version's `weights` the next ones, in place: add in float64, round once to float32.

    `step` is used up: it holds the unrounded sums afterwards.

    Raises:
        AggregationError: lengths that differ, or a sum that float32 cannot hold; `weights` are then void.
    """
    if weights.shape != step.shape:
        raise AggregationError(f"the base has shape {weights.shape}, the step {step.shape}")
    np.add(weights, step, out=step)
    with np.errstate(over="ignore"):
        np.copyto(weights, step, casting="same_kind")
    if not np.isfinite(weights).all():
        raise AggregationError("the next weights are not finite numbers of float32")
