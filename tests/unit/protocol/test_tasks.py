import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sklearn import metrics
from sklearn.neural_network import MLPRegressor

from boltz_protocol import tasks, tensors
from boltz_protocol.messages import TaskSpec, TensorSpec
from boltz_protocol.tasks import TaskError
from boltz_protocol.tensors import LayoutError

LINEAR = TaskSpec(
    kind="linear",
    features=("rv_1", "rv_5", "rv_22"),
    center=(1.0, 2.0, 3.0),
    scale=(1.0, 2.0, 4.0),
    clip=5.0,
    target="rv_next",
    metric="r2",
)
MLP = replace(LINEAR, kind="mlp", hidden=(8, 4), activation="tanh")
CUSTOM = replace(LINEAR, kind="custom", features=(), center=(), scale=(), metric="anything")
SEED = b"seed"


# --- tasks as a whole ---


@pytest.mark.parametrize(
    "task", [LINEAR, MLP, CUSTOM, replace(LINEAR, clip=None), replace(CUSTOM, metric="r2")], ids=str
)
def test_a_sound_task_is_accepted(task):
    tasks.check_task(task)


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        (LINEAR, {"center": (1.0, 2.0)}),
        (LINEAR, {"scale": (1.0, 2.0, 3.0, 4.0)}),
        (LINEAR, {"features": ("a", "b", "a")}),
        (LINEAR, {"features": (), "center": (), "scale": ()}),
        (LINEAR, {"features": ("a", "b", "")}),
        (LINEAR, {"features": ("a", "b", "c\n")}),
        (LINEAR, {"scale": (1.0, 2.0, 0.0)}),
        (LINEAR, {"scale": (1.0, 2.0, -1.0)}),
        (LINEAR, {"center": (1.0, 2.0, math.nan)}),
        (LINEAR, {"center": (1.0, 2.0, math.inf)}),
        (LINEAR, {"clip": 0.0}),
        (LINEAR, {"clip": math.inf}),
        (LINEAR, {"metric": "accuracy"}),
        (LINEAR, {"hidden": (3,)}),
        (LINEAR, {"kind": "forest"}),
        (LINEAR, {"target": ""}),
        (MLP, {"hidden": ()}),
        (MLP, {"hidden": (0,)}),
        (MLP, {"hidden": (1,) * 9}),
        (MLP, {"activation": "sigmoid"}),
        (MLP, {"metric": "qlike"}),
        (CUSTOM, {"hidden": (3,)}),
        (CUSTOM, {"center": (1.0,)}),
    ],
    ids=str,
)
def test_a_task_that_contradicts_itself_is_refused(task, changes):
    with pytest.raises(TaskError) as refused:
        tasks.check_task(replace(task, **changes))
    assert refused.value.code == "invalid_task"


def test_the_largest_task_is_accepted():
    names = tuple(f"{number:0128}" for number in range(4096))
    tasks.check_task(replace(LINEAR, features=names, center=(0.1,) * 4096, scale=(1e-300,) * 4096))


# --- layouts ---


def test_the_layout_of_a_linear_task():
    assert tasks.layout_of(LINEAR).specs == (
        TensorSpec(name="bias", shape=(1,)),
        TensorSpec(name="weight", shape=(3,)),
    )


def test_the_layout_of_a_perceptron_goes_from_layer_to_layer():
    assert tasks.layout_of(MLP).specs == (
        TensorSpec(name="layer0.bias", shape=(8,)),
        TensorSpec(name="layer0.weight", shape=(3, 8)),
        TensorSpec(name="layer1.bias", shape=(4,)),
        TensorSpec(name="layer1.weight", shape=(8, 4)),
        TensorSpec(name="layer2.bias", shape=(1,)),
        TensorSpec(name="layer2.weight", shape=(4, 1)),
    )


def test_the_deepest_perceptron_keeps_its_layers_in_name_order():
    specs = tasks.layout_of(replace(MLP, hidden=(2,) * 8)).specs
    assert [spec.name for spec in specs] == sorted(spec.name for spec in specs)
    assert specs[-1] == TensorSpec(name="layer8.weight", shape=(2, 1))


def test_a_perceptron_past_the_largest_layout_is_refused():
    task = replace(MLP, hidden=(65536, 65536))
    with pytest.raises(LayoutError):
        tasks.layout_of(task)
    with pytest.raises(LayoutError):
        tasks.seed_weights(task, seed=SEED)


def test_a_custom_task_computes_nothing_here():
    for compute in (
        lambda: tasks.layout_of(CUSTOM),
        lambda: tasks.seed_weights(CUSTOM, seed=SEED),
        lambda: tasks.predict(CUSTOM, {"w": np.zeros(1)}, np.zeros((1, 0))),
    ):
        with pytest.raises(TaskError, match="custom"):
            compute()


# --- features ---


def test_features_are_centred_scaled_and_clipped():
    X = [[1, 2, 3], [2, 6, 5], [-100, 100, 3]]
    expected = [[0, 0, 0], [1, 2, 0.5], [-5, 5, 0]]
    np.testing.assert_array_equal(tasks.scale_features(LINEAR, X), np.array(expected, np.float64), strict=True)


def test_without_a_clip_nothing_is_cut():
    assert tasks.scale_features(replace(LINEAR, clip=None), [[1e6, 2, 3]])[0, 0] == 1e6 - 1


def test_the_callers_array_is_left_alone():
    X = np.ones((2, 3))
    tasks.scale_features(LINEAR, X)
    assert (X == 1).all()


def test_no_rows_are_no_error():
    assert tasks.scale_features(LINEAR, np.zeros((0, 3))).shape == (0, 3)


def test_a_feature_that_overflows_is_clipped_or_refused():
    task = replace(LINEAR, scale=(1e-300, 1.0, 1.0))
    assert tasks.scale_features(task, [[1e300, 2, 3]])[0, 0] == 5
    with pytest.raises(TaskError) as refused:
        tasks.scale_features(replace(task, clip=None), [[1e300, 2, 3]])
    assert refused.value.code == "bad_features"


@pytest.mark.parametrize(
    "X",
    [
        np.zeros(3),
        np.zeros((2, 2)),
        np.zeros((2, 4)),
        np.zeros((1, 2, 3)),
        [[1.0, 2.0, math.nan]],
        [[1.0, 2.0, math.inf]],
        [["a", "b", "c"]],
        [[1.0, 2.0], [1.0, 2.0, 3.0]],
        [[None, 1.0, 2.0]],
        [[{}, 1.0, 2.0]],
    ],
    ids=["one row", "too few", "too many", "three dimensions", "nan", "inf", "text", "ragged", "none", "a dict"],
)
def test_features_that_do_not_fit_are_refused(X):
    with pytest.raises(TaskError) as refused:
        tasks.scale_features(LINEAR, X)
    assert refused.value.code == "bad_features"


# --- predictions ---


def test_a_linear_prediction_is_a_dot_product_and_a_bias():
    weights = {"weight": np.float32([1, 2, 3]), "bias": np.float32([0.5])}
    predicted = tasks.predict(LINEAR, weights, np.array([[1.0, 0, 0], [1, 1, 1]]))
    np.testing.assert_array_equal(predicted, np.array([1.5, 6.5]), strict=True)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_perceptron_predicts_as_scikit_learn_does(activation):
    X = np.sin(np.arange(192.0) ** 2).reshape(64, 3)
    y = X @ [1, -2, 0.5] + X[:, 0] ** 2
    theirs = MLPRegressor(
        hidden_layer_sizes=(8, 4), activation=activation, max_iter=2000, tol=1e-2, random_state=0
    ).fit(X, y)
    weights = {f"layer{layer}.weight": array for layer, array in enumerate(theirs.coefs_)}
    weights |= {f"layer{layer}.bias": array for layer, array in enumerate(theirs.intercepts_)}
    ours = tasks.predict(replace(MLP, activation=activation), weights, X)
    np.testing.assert_allclose(ours, theirs.predict(X), rtol=1e-12)


def test_float32_weights_are_computed_with_in_float64():
    weights = {"weight": np.float32([1e-8, 1, 0]), "bias": np.float32([0])}
    assert tasks.predict(LINEAR, weights, np.array([[1.0, 1, 0]]))[0] == np.float64(np.float32(1e-8)) + 1


@pytest.mark.parametrize(
    "weights",
    [
        {"weight": np.zeros(3)},
        {"weight": np.zeros(4), "bias": np.zeros(1)},
        {"weight": np.zeros((3, 1)), "bias": np.zeros(1)},
        {"weight": np.zeros(3), "bias": np.zeros(())},
        {"weight": np.zeros(3), "bias": np.zeros(1), "more": np.zeros(1)},
    ],
    ids=["one missing", "too long", "a column", "a scalar", "one more"],
)
def test_weights_of_another_task_are_refused(weights):
    with pytest.raises(LayoutError):
        tasks.predict(LINEAR, weights, np.zeros((1, 3)))


# --- first weights ---


@pytest.mark.parametrize("task", [LINEAR, MLP], ids=["linear", "mlp"])
def test_first_weights_fit_the_layout_and_are_float32(task):
    weights = tasks.seed_weights(task, seed=SEED)
    assert tensors.Layout.of(weights) == tasks.layout_of(task)
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}


def test_a_linear_task_begins_at_zero():
    assert not any(array.any() for array in tasks.seed_weights(LINEAR, seed=SEED).values())


def test_the_first_weights_of_a_perceptron_are_the_same_on_every_machine():
    vector = tensors.flatten(tasks.seed_weights(MLP, seed=SEED), tasks.layout_of(MLP))
    assert (
        hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest()
        == "e26bee9aea47ef5e566fbff81b3cbab48bf12998b34026066c639318ab5457d3"
    )


def test_the_first_weights_come_from_shake_256_of_seed_and_layer():
    stream = hashlib.shake_256(b"boltz-mesh/v1/seed-weights\0" + b"\1" + SEED).digest(8)
    first, second = (int.from_bytes(stream[at : at + 4], "little") / 2**31 - 1 for at in (0, 4))
    weight = tasks.seed_weights(MLP, seed=SEED)["layer1.weight"]
    assert weight[0, :2].tolist() == [np.float32(first * math.sqrt(6 / 12)), np.float32(second * math.sqrt(6 / 12))]


def test_the_first_weights_of_a_perceptron_are_uniform_within_glorots_bound():
    task = replace(MLP, hidden=(400,))
    weights = tasks.seed_weights(task, seed=SEED)
    scaled = weights["layer0.weight"].ravel() / math.sqrt(6 / 403)
    assert np.abs(scaled).max() <= 1
    assert np.abs(scaled).max() > 0.99
    assert abs(scaled.mean()) < 0.06  # 1200 draws: the standard error is 0.017
    assert abs(scaled.var() - 1 / 3) < 0.04
    assert not weights["layer0.bias"].any()


def test_another_seed_gives_other_weights():
    first, second = (tasks.seed_weights(MLP, seed=seed)["layer0.weight"] for seed in (b"1", b"2"))
    assert (first != second).all()


# --- scores ---

rows = st.integers(1, 30)


@given(st.data(), rows)
def test_scores_are_those_of_scikit_learn(data, count):
    numbers = st.lists(st.integers(-1000, 1000), min_size=count, max_size=count)
    target, predicted = np.array(data.draw(numbers)) / 8, np.array(data.draw(numbers)) / 8
    assert tasks.score("mse", target, predicted) == pytest.approx(metrics.mean_squared_error(target, predicted))
    assert tasks.score("mae", target, predicted) == pytest.approx(metrics.mean_absolute_error(target, predicted))
    if count > 1:  # scikit-learn has no r2 of a single row
        assert tasks.score("r2", target, predicted) == pytest.approx(metrics.r2_score(target, predicted))


def test_the_r2_of_a_constant_target_is_one_or_zero():
    assert tasks.score("r2", np.ones(3), np.ones(3)) == 1
    assert tasks.score("r2", np.ones(3), np.array([1, 1, 1.5])) == 0


def test_a_metric_that_is_not_known_is_refused():
    with pytest.raises(TaskError) as refused:
        tasks.score("accuracy", np.ones(2), np.ones(2))
    assert refused.value.code == "invalid_task"


@pytest.mark.parametrize(
    ("target", "predicted"),
    [(np.ones(2), np.ones(3)), (np.ones(2), np.ones((2, 1))), (np.ones((2, 1)), np.ones((2, 1))), ([], [])],
    ids=["other lengths", "a column", "two columns", "nothing"],
)
def test_predictions_that_do_not_match_their_targets_are_refused(target, predicted):
    with pytest.raises(TaskError) as refused:
        tasks.score("mse", target, predicted)
    assert refused.value.code == "bad_features"
