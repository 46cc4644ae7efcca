import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.server_step import apply_step
from tests.unit.core.made_rows import made_numbers


@given(
    base=st.floats(-(2.0**100), 2.0**100, width=32),
    step=st.floats(-1e30, 1e30),
)
def test_the_sum_is_rounded_once_to_float32(base, step):
    expected = struct.unpack("f", struct.pack("f", base + step))[0]
    weights = np.array([base], np.float32)
    apply_step(weights, np.array([step]))
    assert weights.tolist() == [expected]


def test_every_coordinate_gets_its_step():
    base, step = made_numbers("base", 40_000), made_numbers("step", 40_000).astype(np.float64) / 3
    expected = (base + step).astype(np.float32)
    apply_step(base, step)
    assert np.array_equal(base, expected)


@pytest.mark.parametrize("step", [3.4e38, -1e300, math.nan, math.inf])
def test_weights_that_float32_cannot_hold_are_refused(step):
    base = np.full(20_000, np.float32(math.copysign(3e38, step)))
    steps = np.zeros(20_000)
    steps[-1] = step
    with pytest.raises(AggregationError, match="not finite"):
        apply_step(base, steps)


def test_a_step_of_another_length_is_refused():
    with pytest.raises(AggregationError, match="shape"):
        apply_step(np.zeros(3, np.float32), np.zeros(4))
