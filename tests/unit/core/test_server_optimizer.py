import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.rules.parameters import PlanError
from boltz_core.aggregation.server_optimizer import FIRST, OPTIMIZERS, SECOND, make_optimizer
from boltz_core.aggregation.server_step import apply_step
from tests.unit.core.made_rows import made_numbers


def float32(number):
    return struct.unpack("f", struct.pack("f", number))[0]


def state_of(optimizer, parameters):
    return {name: np.full(parameters, value, np.float32) for name, value in optimizer.initial_state.items()}


def take_step(optimizer, weights, step, state):
    optimizer.change_step(step, state)
    apply_step(weights, step)


def by_the_paper(name, steps, *, beta1=0.9, beta2=0.99, tau=1e-3, rate=0.01):
    """Algorithm 2 in Python's numbers, with what is stored rounded to float32."""
    weight, first, second = 0.0, 0.0, float32(tau**2)
    for step in steps:
        first = beta1 * first + (1 - beta1) * step
        square = step * step
        if name == "adagrad":
            second = second + square
        elif name == "yogi":
            second = second - (1 - beta2) * square * math.copysign(1, second - square)
        else:
            second = beta2 * second + (1 - beta2) * square
        weight = float32(weight + first / (math.sqrt(second) + tau) * rate)
        first, second = float32(first), float32(second)
    return weight


@pytest.mark.parametrize(("name", "beta1"), [("adam", 0.9), ("yogi", 0.9), ("adagrad", 0.0)])
@settings(deadline=None)
@given(steps=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=6))
def test_adaptive_steps_are_those_of_the_paper(name, beta1, steps):
    optimizer = make_optimizer(name)
    weights, state = np.zeros(1, np.float32), state_of(optimizer, 1)
    for step in steps:
        take_step(optimizer, weights, np.array([step], np.float64), state)
    assert weights[0] == pytest.approx(by_the_paper(name, steps, beta1=beta1), rel=1e-6, abs=1e-12)


def test_momentum_adds_steps_up():
    optimizer = make_optimizer("momentum", {"momentum": 0.5, "learning_rate": 2.0})
    weights, state = np.zeros(1, np.float32), state_of(optimizer, 1)
    for _ in range(3):
        take_step(optimizer, weights, np.ones(1), state)
    assert weights.tolist() == [2 * (1 + 1.5 + 1.75)]
    assert state[FIRST].tolist() == [1.75]


def test_none_is_the_plain_step():
    weights, wanted, step = made_numbers("w", 50), made_numbers("w", 50), made_numbers("s", 50).astype(np.float64)
    take_step(make_optimizer("none"), weights, step.copy(), {})
    apply_step(wanted, step)
    assert np.array_equal(weights, wanted)


def test_version_zero_has_no_moments_but_tau_squared():
    assert make_optimizer("yogi", {"tau": 0.5}).initial_state == {FIRST: 0.0, SECOND: 0.25}
    assert make_optimizer("momentum").initial_state == {FIRST: 0.0}
    assert make_optimizer("none").initial_state == {}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("cut", [1, 13, 499])
def test_a_vector_in_pieces_gets_the_same_bits(name, cut):
    optimizer, step = make_optimizer(name), made_numbers("step", 500).astype(np.float64) / 3
    whole, pieces = made_numbers("base", 500), made_numbers("base", 500)
    state, state_in_pieces = state_of(optimizer, 500), state_of(optimizer, 500)
    take_step(optimizer, whole, step.copy(), state)
    for part in (slice(0, cut), slice(cut, 500)):
        take_step(
            optimizer, pieces[part], step[part].copy(), {key: vector[part] for key, vector in state_in_pieces.items()}
        )
    assert np.array_equal(whole, pieces)
    assert all(np.array_equal(state[key], state_in_pieces[key]) for key in state)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_step_from_rest_changes_no_weight(name):
    optimizer, weights = make_optimizer(name), made_numbers("base", 20)
    take_step(optimizer, weights, np.zeros(20), state_of(optimizer, 20))
    assert np.array_equal(weights, made_numbers("base", 20))


@pytest.mark.parametrize("step", [1e30, math.nan, math.inf])
def test_a_state_that_float32_cannot_hold_is_refused(step):
    optimizer = make_optimizer("adam")
    with pytest.raises(AggregationError, match="state of adam is not finite"):
        take_step(optimizer, np.zeros(1, np.float32), np.array([step]), state_of(optimizer, 1))


@pytest.mark.parametrize("state", [{}, {FIRST: np.zeros(3, np.float32), "more": np.zeros(3, np.float32)}])
def test_a_state_of_another_optimizer_is_refused(state):
    with pytest.raises(AggregationError, match="momentum keeps"):
        take_step(make_optimizer("momentum"), np.zeros(3, np.float32), np.zeros(3), state)


def test_a_state_of_another_length_is_refused():
    with pytest.raises(AggregationError, match="not as long as the step"):
        take_step(make_optimizer("momentum"), np.zeros(3, np.float32), np.zeros(3), {FIRST: np.zeros(2, np.float32)})


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sgd", {}, "there is no optimizer 'sgd'; there are none, momentum, adam, yogi, adagrad"),
        ("adam", {"beta1": 1.0}, "beta1 is 1.0; it must be from 0.0 to 0.9999"),
        ("adam", {"tau": 0.0}, "tau is 0.0"),
        ("adagrad", {"beta2": 0.5}, "adagrad has no parameter 'beta2'"),
        ("none", {"learning_rate": 1.0}, "none has no parameter 'learning_rate'; it has none"),
    ],
)
def test_what_does_not_exist_or_is_out_of_bounds_is_refused(name, parameters, message):
    with pytest.raises(PlanError, match=message):
        make_optimizer(name, parameters)


def test_each_optimizer_is_listed_under_its_name():
    assert [kind.name for kind in OPTIMIZERS.values()] == list(OPTIMIZERS)
