import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.trust.directions import clipped_gram, cosines, leave_one_out_cosines
from boltz_core.trust.errors import TrustError


def made(rows, columns=6, seed=3):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def gram_of(rows):
    gram = rows @ rows.T
    return (gram + gram.T) / 2


def by_hand(rows, weights):
    found = []
    for i, row in enumerate(rows):
        rest = sum(w * other for j, (w, other) in enumerate(zip(weights, rows, strict=True)) if j != i)
        found.append(row @ rest / np.linalg.norm(row) / np.linalg.norm(rest))
    return found


@given(st.integers(2, 12), st.integers(0, 1000))
def test_the_cosines_are_those_of_the_rows_themselves(count, seed):
    rows = made(count, seed=seed)
    weights = np.random.default_rng(seed).uniform(0.1, 2, size=count).tolist()
    assert leave_one_out_cosines(gram_of(rows), weights) == pytest.approx(by_hand(rows, weights), abs=1e-9)


@given(st.randoms())
def test_the_order_of_the_rows_does_not_change_a_bit(random):
    rows, weights = made(9), np.random.default_rng(1).uniform(size=9)
    order = list(range(9))
    random.shuffle(order)
    gram = gram_of(rows)
    shuffled = leave_one_out_cosines(gram[np.ix_(order, order)], weights[order].tolist())
    straight = leave_one_out_cosines(gram, weights.tolist())
    assert [shuffled[order.index(i)] for i in range(9)] == list(straight)


def test_the_scale_of_the_weights_does_not_matter():
    gram = gram_of(made(5))
    assert leave_one_out_cosines(gram, [1, 2, 3, 4, 5]) == pytest.approx(
        leave_one_out_cosines(gram, [1e-9, 2e-9, 3e-9, 4e-9, 5e-9])
    )


def test_a_client_without_weight_is_compared_with_the_rest():
    rows = made(4)
    assert leave_one_out_cosines(gram_of(rows), [0, 1, 1, 1])[0] == pytest.approx(by_hand(rows, [0, 1, 1, 1])[0])


def test_a_heavy_client_does_not_agree_with_itself():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert leave_one_out_cosines(gram_of(rows), [1e4, 1, 1])[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "weights", "without"),
    [
        ([[1.0, 0.0]], [1], 0),
        ([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], [1, 1, 1], 0),
        ([[1.0, 0.0], [0.3, 0.1], [-0.3, -0.1]], [1, 1, 1], 0),
        ([[1.0, 0.0], [1.0, 1.0]], [1, 0], 0),
    ],
    ids=["alone", "zeros", "the others cancel out", "the others have no weight"],
)
def test_where_there_is_nothing_to_compare_with_there_is_no_cosine(rows, weights, without):
    assert leave_one_out_cosines(gram_of(np.array(rows)), weights)[without] is None


@pytest.mark.parametrize("seed", range(30))
def test_others_that_cancel_but_for_rounding_are_nothing_to_compare_with(seed):
    others = made(3, seed=seed)
    rows = np.vstack([made(1, seed=seed + 100), others, -others.sum(axis=0)])
    assert leave_one_out_cosines(gram_of(rows), [1.0] * 5)[0] is None


def test_clipping_the_gram_matrix_is_clipping_the_rows():
    rows = made(7)
    norms = np.linalg.norm(rows, axis=1)
    clip = float(np.median(norms))
    clipped = rows * np.minimum(1, clip / norms)[:, None]
    assert clipped_gram(gram_of(rows), clip_norm=clip) == pytest.approx(gram_of(clipped))


def test_a_row_of_zeros_stays_one_when_clipped():
    assert clipped_gram(np.zeros((2, 2)), clip_norm=1.0).tolist() == [[0, 0], [0, 0]]


def test_pairwise_cosines_are_zero_for_zeros_and_on_the_diagonal():
    rows = np.array([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0]])
    assert cosines(gram_of(rows)) == pytest.approx(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))


@pytest.mark.parametrize(
    "gram",
    [
        np.zeros((0, 0)),
        np.zeros(3),
        np.zeros((2, 3)),
        np.array([[1.0, 0.5], [0.4, 1.0]]),
        np.array([[-1.0]]),
        np.array([[math.nan]]),
        np.array([[math.inf]]),
    ],
)
def test_what_is_no_gram_matrix_is_refused(gram):
    for use in (cosines, lambda one: clipped_gram(one, clip_norm=1.0), lambda one: leave_one_out_cosines(one, [1.0])):
        with pytest.raises(TrustError, match="a Gram matrix is"):
            use(gram)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0], [1.0, math.nan], [math.inf, 1.0]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(TrustError, match="weight"):
        leave_one_out_cosines(np.eye(2), weights)


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, math.inf])
def test_a_clip_norm_that_is_none_is_refused(clip):
    with pytest.raises(TrustError, match="clip norm"):
        clipped_gram(np.eye(2), clip_norm=clip)
