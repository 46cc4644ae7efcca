"""From the combined step to the next weights.

Elementwise IEEE operations only, so a replay gives the same bits.
"""

import numpy as np

from boltz_core.aggregation.errors import AggregationError
from boltz_core.arrays import Float32Vector, Float64Vector
from boltz_core.ingest.segments import SEGMENT_PARAMETERS


def apply_step(base: Float32Vector, step: Float64Vector) -> Float32Vector:
    """Add the step to the base version in float64 and round once to float32.

    Raises:
        AggregationError: lengths that differ, or a sum that float32 cannot hold.
    """
    if base.shape != step.shape:
        raise AggregationError(f"the base has shape {base.shape}, the step {step.shape}")
    weights = np.empty(base.shape, dtype="<f4")
    wide = np.empty(SEGMENT_PARAMETERS)
    for start in range(0, len(base), SEGMENT_PARAMETERS):
        part = slice(start, start + SEGMENT_PARAMETERS)
        summed = wide[: len(base[part])]
        np.add(base[part], step[part], out=summed)
        with np.errstate(over="ignore"):
            np.copyto(weights[part], summed, casting="same_kind")
        if not np.isfinite(weights[part]).all():
            raise AggregationError("the next weights are not finite numbers of float32")
    return weights
