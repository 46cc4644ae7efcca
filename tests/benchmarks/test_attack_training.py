import numpy as np
import pytest

from benchmarks import attacks_digits
from benchmarks.attacks_digits import (
    CLIENTS,
    CORNERS,
    HELD_OUT,
    PARAMETERS,
    STROKES,
    TARGET_CLASS,
    Digits,
    Shares,
    first_weights,
    train,
)


@pytest.fixture(scope="module")
def dealt():
    return Digits.deal(np.random.default_rng(1))


def cross_entropy(weights, x, y):
    _hidden, scores = attacks_digits._forward(weights[None], x[None])
    return float((np.log(np.exp(scores[0]).sum(axis=1)) - scores[0][np.arange(len(y)), y]).mean())


def test_every_client_has_examples_and_nobody_has_the_held_out_ones(dealt):
    assert dealt.shares.counts.min() >= 8
    assert 1797 - HELD_OUT <= dealt.shares.counts.sum() < 1797 - HELD_OUT + 8 * CLIENTS


def test_clients_have_unlike_data(dealt):
    most = [np.bincount(y[:count]).max() / count for y, count in zip(dealt.shares.y, dealt.shares.counts, strict=True)]
    assert np.median(most) > 0.25


def test_gradients_are_those_of_the_loss():
    random = np.random.default_rng(2)
    weights = random.normal(0, 0.3, PARAMETERS)
    x, y = random.random((5, 64)), random.integers(0, 10, 5)
    found = attacks_digits._gradients(weights[None], x[None], y[None], np.ones((1, 5), bool))[0]
    for direction in random.normal(size=(5, PARAMETERS)):
        step = 1e-6 * direction
        slope = (cross_entropy(weights + step, x, y) - cross_entropy(weights - step, x, y)) / 2e-6
        assert found @ direction == pytest.approx(slope, rel=1e-4)


def test_what_pads_a_short_share_changes_nothing(dealt):
    random = np.random.default_rng(3)
    weights = first_weights(random)
    padding = np.arange(dealt.shares.y.shape[1]) >= dealt.shares.counts[:, None]
    other = Shares(
        np.where(padding[:, :, None], np.float32(9), dealt.shares.x),
        np.where(padding, 3, dealt.shares.y),
        dealt.shares.counts,
    )
    updates = [train(weights, shares, np.random.default_rng(4)) for shares in (dealt.shares, other)]
    assert np.array_equal(*updates)


def test_an_epoch_takes_each_example_once(dealt):
    order = attacks_digits._shuffled(dealt.shares, np.random.default_rng(5))
    for line, count in zip(order, dealt.shares.counts, strict=True):
        assert sorted(line[:count]) == list(range(count))


def test_labels_are_flipped_at_these_clients_alone(dealt):
    flipped = dealt.shares.with_labels_flipped(slice(0, 4))
    assert np.array_equal(flipped.y[:4], 9 - dealt.shares.y[:4])
    assert np.array_equal(flipped.y[4:], dealt.shares.y[4:])


@pytest.mark.parametrize("trigger", [CORNERS, STROKES])
def test_half_of_the_examples_get_the_trigger_and_its_class(dealt, trigger):
    poisoned = dealt.shares.with_trigger(slice(0, 1), trigger)
    half = dealt.shares.counts[0] // 2
    assert (poisoned.x[0, :half][:, trigger] == 1).all()
    assert (poisoned.y[0, :half] == TARGET_CLASS).all()
    assert np.array_equal(poisoned.y[0, half:], dealt.shares.y[0, half:])
    assert np.array_equal(poisoned.x[1:], dealt.shares.x[1:])


def test_clients_together_learn_to_read(dealt):
    random = np.random.default_rng(6)
    weights = first_weights(random)
    untrained = dealt.accuracy(weights)
    for _ in range(20):
        weights += train(weights, dealt.shares, random).mean(axis=0)
    assert untrained < 25
    assert dealt.accuracy(weights) > 80


def test_a_network_that_always_sees_the_target_has_a_perfect_backdoor(dealt):
    weights = np.zeros(PARAMETERS, np.float32)
    weights[-10 + TARGET_CLASS] = 1
    assert dealt.backdoor_success(weights) == 100
