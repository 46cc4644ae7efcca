import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.grid import Grid

bounds = st.floats(min_value=1e-30, max_value=1e30)


def gridded(grid, values):
    block, out = np.array([values], dtype=np.float32), np.empty((1, len(values)))
    grid.to_grid(block, out)
    return out[0]


@pytest.mark.parametrize(
    ("bound", "exponent"), [(1.0, -32), (1.0000001, -31), (2.0, -31), (0.5, -33), (0.75, -32), (10.0, -28)]
)
def test_gamma_is_2_to_the_minus_32_of_the_next_power_of_two(bound, exponent):
    assert Grid.for_bound(bound).gamma == 2.0**exponent


@given(bound=bounds)
def test_the_bound_itself_becomes_more_than_2_to_the_31_and_at_most_2_to_the_32(bound):
    assert 2**31 < Fraction(bound) / Fraction(Grid.for_bound(bound).gamma) <= 2**32


@given(bound=bounds, shares=st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_each_number_becomes_the_nearest_integer(bound, shares):
    grid = Grid.for_bound(bound)
    values = np.array([share * bound for share in shares], dtype=np.float32)
    expected = [round(Fraction(float(value)) / Fraction(grid.gamma)) for value in values]
    assert gridded(grid, values).tolist() == expected


def test_ties_go_to_the_even_integer():
    grid = Grid.for_bound(2.0**32)
    assert gridded(grid, [0.5, 1.5, 2.5, -0.5, -1.5, 1e-45]).tolist() == [0, 2, 2, 0, -2, 0]


def test_what_ingest_tolerates_above_the_bound_is_taken():
    assert gridded(Grid.for_bound(1.0), [1 + 1e-6, -1 - 1e-6]).tolist() == [2**32 + 2**12, -(2**32) - 2**12]


@pytest.mark.parametrize("bad", [1.001, -1.001, 1 + 1e-5, math.nan, math.inf, -math.inf, 3e38])
def test_a_number_beyond_the_bound_is_refused(bad):
    with pytest.raises(AggregationError, match="beyond the bound"):
        gridded(Grid.for_bound(1.0), [0.0, bad, 0.0])


@pytest.mark.parametrize("bound", [0.0, -1.0, 9e-31, 2e30, math.nan, math.inf])
def test_a_bound_that_has_no_grid_is_refused(bound):
    with pytest.raises(AggregationError, match="needs a bound"):
        Grid.for_bound(bound)
