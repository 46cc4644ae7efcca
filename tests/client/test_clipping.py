"""The clip: for every delta and bound, the norm that leaves is at most the bound, and the direction stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from boltz_client.update import HAIR, clip, norm_of

DELTAS = arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-(2.0**60), 2.0**60, width=32))


@given(DELTAS, st.floats(1e-6, 1e12))
def test_no_update_leaves_over_the_bound(delta, max_norm):
    before = delta.astype(np.float64)
    norm, clipped = clip(delta, max_norm=max_norm)
    assert norm == norm_of(delta) <= max_norm
    assert clipped == (np.linalg.norm(before) > max_norm * (1 - HAIR))
    if not clipped:
        np.testing.assert_array_equal(delta, before)


@given(DELTAS)
def test_what_is_clipped_keeps_its_direction(delta):
    before = delta.astype(np.float64)
    norm, clipped = clip(delta, max_norm=1.0)
    if clipped:
        assert norm == pytest.approx(1.0, rel=2e-6)
        assert float(before @ delta) == pytest.approx(float(np.linalg.norm(before)) * norm, rel=1e-5)


def test_norms_that_float32_cannot_hold_are_measured():
    delta = np.full(200_000, 3e38, np.float32)
    norm, clipped = clip(delta, max_norm=2.5)
    assert clipped
    assert 2.5 * (1 - 2e-6) < norm <= 2.5
