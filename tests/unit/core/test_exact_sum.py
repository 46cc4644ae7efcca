from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.aggregation import exact_sum
from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.exact_sum import ExactSum
from boltz_core.aggregation.grid import GRID_BITS, HEADROOM
from boltz_core.aggregation.integer_weights import HALF_BITS, MAX_WEIGHT, halves

LARGEST = 2**32 + 2**14  # the largest integer that `Grid.to_grid` lets through


def as_integers(exact):
    hi, lo = exact.totals()
    return [h * 1024 + low for h, low in zip(hi.tolist(), lo.tolist(), strict=True)]


@given(data=st.data(), columns=st.integers(1, 4))
def test_the_sum_is_the_sum_of_python_integers(data, columns):
    row = st.lists(st.integers(-LARGEST, LARGEST), min_size=columns, max_size=columns)
    rows = data.draw(st.lists(st.tuples(row, st.integers(0, MAX_WEIGHT)), min_size=1, max_size=40))
    cut = data.draw(st.integers(0, len(rows)))
    exact = ExactSum(columns)
    for part in (rows[:cut], rows[cut:]):
        if part:
            exact.add(np.array([row for row, _ in part], dtype=float), *halves([weight for _, weight in part]))
    expected = [sum(row[c] * weight for row, weight in rows) for c in range(columns)]
    assert as_integers(exact) == expected


@pytest.mark.parametrize("height", [1, 255, 2**11, 5000])
@pytest.mark.parametrize("sign", [1, -1])
def test_thousands_of_the_largest_rows_under_the_largest_weights_stay_exact(height, sign):
    rows = 5000
    exact = ExactSum(3)
    block = np.tile(sign * np.array([LARGEST, LARGEST - 1, 1.0]), (rows, 1))
    hi, lo = halves([MAX_WEIGHT] * rows)
    for start in range(0, rows, height):
        part = slice(start, start + height)
        exact.add(block[part], hi[part], lo[part])
    assert as_integers(exact) == [sign * rows * MAX_WEIGHT * k for k in (LARGEST, LARGEST - 1, 1)]


def test_the_bounds_of_the_proof_hold_and_have_no_room_for_twice_the_rows():
    largest = 2**GRID_BITS * (1 + Fraction(HEADROOM)) + Fraction(1, 2)
    assert largest >= LARGEST
    product = (2**HALF_BITS - 1) * largest
    assert exact_sum.MAX_FLOAT_ROWS * product < 2**53 < 2 * exact_sum.MAX_FLOAT_ROWS * product
    assert exact_sum.MAX_ROWS * product < 2**63 < 2 * exact_sum.MAX_ROWS * product


def test_more_rows_than_int64_has_room_for_are_refused():
    exact = ExactSum(1)
    block, zeros = np.zeros((exact_sum.MAX_ROWS, 1)), np.zeros(exact_sum.MAX_ROWS)
    exact.add(block, zeros, zeros)
    with pytest.raises(AggregationError, match="at most 2097152 rows"):
        exact.add(block[:1], zeros[:1], zeros[:1])


def test_the_largest_sum_that_is_let_in_does_not_overflow():
    exact = ExactSum(1)
    hi, lo = halves([MAX_WEIGHT] * exact_sum.MAX_ROWS)
    exact.add(np.full((exact_sum.MAX_ROWS, 1), float(LARGEST)), hi, lo)
    assert as_integers(exact) == [exact_sum.MAX_ROWS * MAX_WEIGHT * LARGEST]


def test_after_a_reset_nothing_is_left():
    exact = ExactSum(2)
    hi, lo = halves([5])
    exact.add(np.ones((1, 2)), hi, lo)
    assert as_integers(exact) == [5, 5]
    exact.add(np.ones((1, 2)), hi, lo)
    exact.reset()
    assert as_integers(exact) == [0, 0]
    exact.add(np.ones((1, 2)), hi, lo)
    assert as_integers(exact) == [5, 5]


def test_the_mean_is_in_the_units_of_the_rows():
    exact = ExactSum(2)
    exact.add(np.array([[4.0, 8.0], [0.0, -8.0]]), *halves([3, 1]))
    mean = np.empty(2)
    exact.mean_into(mean, total_weight=4, gamma=0.25)
    assert mean.tolist() == [0.75, 1.0]


def test_a_mean_without_weight_is_refused():
    with pytest.raises(AggregationError, match="total weight"):
        ExactSum(1).mean_into(np.empty(1), total_weight=0, gamma=1.0)
