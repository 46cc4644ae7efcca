import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.integer_weights import MAX_WEIGHT, halves, integer_weights

weights = st.lists(st.floats(0, 1e15), min_size=1, max_size=50).filter(any)


@given(values=weights)
def test_the_largest_becomes_the_largest_integer_and_none_leaves_the_range(values):
    integers = integer_weights(values)
    assert integers.max() == integers[np.argmax(values)] == MAX_WEIGHT == 2**20 - 1
    assert integers.min() >= 0


@given(values=weights)
def test_each_is_within_half_a_unit_of_its_share_of_the_largest(values):
    exact = [value / max(values) * MAX_WEIGHT for value in values]
    assert np.abs(integer_weights(values) - exact).max() <= 0.5


def test_equal_weights_stay_equal():
    assert integer_weights([3, 3, 3]).tolist() == [MAX_WEIGHT] * 3


@pytest.mark.parametrize("bad", [[], [0.0, 0.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf]], ids=str)
def test_weights_that_make_no_mean_are_refused(bad):
    with pytest.raises(AggregationError, match="weights are finite"):
        integer_weights(bad)


@given(values=st.lists(st.integers(0, MAX_WEIGHT), min_size=1, max_size=50))
def test_the_halves_put_together_are_the_weight(values):
    hi, lo = halves(values)
    assert (hi * 1024 + lo).tolist() == values
    assert max(hi.max(), lo.max()) < 1024


@pytest.mark.parametrize("bad", [-1, MAX_WEIGHT + 1])
def test_a_weight_that_has_no_two_halves_is_refused(bad):
    with pytest.raises(AggregationError, match="integer weights lie in"):
        halves([0, bad])
