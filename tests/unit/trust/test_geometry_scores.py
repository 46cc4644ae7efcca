import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.trust.errors import TrustError
from boltz_core.trust.geometry_scores import geometry_scores, squared_distances


def gram_of(rows):
    gram = rows @ rows.T
    return (gram + gram.T) / 2


def made(rows=12, columns=20, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def scores(rows, malicious=2):
    return geometry_scores(gram_of(np.asarray(rows, dtype=float)), malicious=malicious, mode="robust")


def by_hand(rows):
    return np.array([[np.sum((one - other) ** 2) for other in rows] for one in rows])


def test_distances_are_those_of_the_rows():
    rows = made()
    assert squared_distances(gram_of(rows)) == pytest.approx(by_hand(rows), abs=1e-9)


def test_an_offset_costs_no_more_than_the_digits_of_the_largest_square():
    rows = made() + 1e4
    error = np.abs(squared_distances(gram_of(rows)) - by_hand(rows)).max()
    assert error <= 1e-14 * np.max(np.sum(rows**2, axis=1))


def test_a_distance_is_never_negative():
    rows = np.repeat(made(1) + 1e4, 12, axis=0) * (1 + 1e-15 * np.arange(12)[:, None])
    assert squared_distances(gram_of(rows)).min() >= 0


def test_krum_takes_the_n_minus_f_minus_2_nearest():
    rows = made()
    squares = by_hand(rows)
    expected = np.sort(squares, axis=1)[:, 1:9].mean(axis=1) / np.median(squares[np.triu_indices(12, 1)])
    assert [one.krum for one in scores(rows)] == pytest.approx(expected.tolist())


def test_the_closest_cosine_is_that_with_the_likest_other():
    rows = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert [one.closest_cosine for one in scores(rows, malicious=0)] == pytest.approx([1, 1, 0, 0])


def test_distances_to_the_centre_are_those_to_the_geometric_median():
    rows = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0], [2.0, 2.0], [6.0, 2.0]])
    grid = np.stack(np.meshgrid(np.linspace(1, 4, 601), np.linspace(1, 4, 601)), axis=-1)
    sums = sum(np.linalg.norm(grid - row, axis=-1) for row in rows)
    centre = grid.reshape(-1, 2)[sums.argmin()]
    expected = np.linalg.norm(rows - centre, axis=1)
    found = np.array([one.centre_distance for one in scores(rows, malicious=1)])
    assert found == pytest.approx(expected / np.median(expected), abs=0.02)


def test_far_rows_below_one_half_do_not_move_the_centre():
    rows = made(11)
    rows[:4] += 1e6
    assert max(one.centre_distance for one in scores(rows)[4:]) < 5


def test_a_row_far_from_all_stands_out_in_both_distances():
    rows = made()
    rows[3] += 10
    found = scores(rows)
    assert max(range(12), key=lambda i: found[i].krum) == 3
    assert max(range(12), key=lambda i: found[i].centre_distance) == 3


def test_size_does_not_matter():
    small, large = scores(made()), scores(made() * 1e6)
    assert [one.krum for one in small] == pytest.approx([one.krum for one in large])


def test_where_most_rows_are_the_same_one_that_is_not_is_infinitely_far():
    rows = np.ones((9, 3))
    rows[0] = 2.0
    found = scores(rows)
    assert [one.krum for one in found] == [np.inf, *[0.0] * 8]


def test_equal_rows_are_at_no_distance():
    assert {(one.krum, one.centre_distance) for one in scores(np.ones((5, 3)))} == {(0.0, 0.0)}


@given(st.permutations(range(12)))
def test_permuting_the_rows_permutes_the_scores(order):
    straight, shuffled = scores(made()), scores(made()[list(order)])
    assert [one.krum for one in shuffled] == pytest.approx([straight[i].krum for i in order])
    assert [one.centre_distance for one in shuffled] == pytest.approx([straight[i].centre_distance for i in order])


@pytest.mark.parametrize(("rows", "malicious"), [(4, 2), (2, 0), (5, -1)])
def test_too_few_rows_for_f_are_refused(rows, malicious):
    with pytest.raises(TrustError, match="must be at least 1"):
        scores(made(rows), malicious=malicious)
