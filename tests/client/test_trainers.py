"""The trainers: they learn, they repeat, they return what the layout asks for."""

import importlib.util

import numpy as np
import pytest
from msgspec import structs

from boltz_client import trainers
from boltz_client.errors import TrainerError
from boltz_client.trainers import LinearTrainer, SklearnTrainer, TorchTrainer
from boltz_client.trainers.linear import evaluate_task
from boltz_protocol import tasks
from tests.client.mesh_simulation import CUSTOM, LINEAR, MLP

random = np.random.default_rng(3)
X = random.normal(size=(400, 3))
Y = X @ np.array([0.5, -0.3, 0.1]) + 0.7 + 0.05 * random.normal(size=400)
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


def frozen(task):
    """The weights of version 0, read-only as the SDK hands them out."""
    weights = tasks.seed_weights(task, seed=b"s")
    for array in weights.values():
        array.flags.writeable = False
    return weights


def after_rounds(trainer, task, rounds: int):
    weights = frozen(task)
    for _ in range(rounds):
        weights = trainer.train(weights, X, Y)
    return weights


@pytest.mark.parametrize(
    ("trainer", "task"),
    [
        (LinearTrainer(LINEAR), LINEAR),
        (SklearnTrainer(MLP), MLP),
        (
            SklearnTrainer(structs.replace(MLP, activation="relu", hidden=(8, 4))),
            structs.replace(MLP, activation="relu", hidden=(8, 4)),
        ),
        pytest.param(TorchTrainer(MLP), MLP, marks=needs_torch),
        pytest.param(
            TorchTrainer(structs.replace(MLP, activation="relu", hidden=(8, 4))),
            structs.replace(MLP, activation="relu", hidden=(8, 4)),
            marks=needs_torch,
        ),
    ],
    ids=["linear", "sklearn", "sklearn-deep", "torch", "torch-deep"],
)
def test_a_trainer_learns_repeats_itself_and_keeps_the_layout(trainer, task):
    start = frozen(task)
    before = trainer.evaluate(start, X, Y)
    trained = trainer.train(start, X, Y)
    assert {name: array.shape for name, array in trained.items()} == {
        name: array.shape for name, array in start.items()
    }
    assert trainer.evaluate(trained, X, Y)["mse"] < before["mse"]
    for name, array in trainer.train(start, X, Y).items():
        np.testing.assert_array_equal(array, trained[name])
    learnt = after_rounds(trainer, task, 15)
    assert trainer.evaluate(learnt, X, Y)["r2"] > 0.95
    assert trainer.evaluate(learnt, X, Y)["mse"] == pytest.approx(evaluate_task(task, learnt, X, Y)["mse"], rel=1e-3)


def test_linear_descent_ends_near_the_least_squares_solution():
    learnt = after_rounds(LinearTrainer(LINEAR), LINEAR, 20)
    exact, *_ = np.linalg.lstsq(np.column_stack([np.ones(400), X]), Y, rcond=None)
    np.testing.assert_allclose(np.concatenate([learnt["bias"], learnt["weight"]]), exact, atol=0.02)


def test_many_large_features_do_not_make_the_descent_explode():
    wide = structs.replace(LINEAR, features=tuple(f"f{i}" for i in range(300)), center=(0.0,) * 300, scale=(1.0,) * 300)
    shared = random.normal(size=(64, 1))
    features = np.clip(5 * (shared + 0.1 * random.normal(size=(64, 300))), -5, 5)
    trainer = LinearTrainer(wide, epochs=50, momentum=0.9)
    trained = trainer.train(frozen(wide), features, shared[:, 0])
    assert np.isfinite(trained["weight"]).all()
    assert trainer.evaluate(trained, features, shared[:, 0])["mse"] < 0.5


def test_the_proximal_term_stays_closer_to_where_it_came_from():
    far, near = (
        LinearTrainer(LINEAR, epochs=10, proximal=mu).train(frozen(LINEAR), X, Y)["weight"] for mu in (0.0, 5.0)
    )
    assert np.linalg.norm(near) < 0.5 * np.linalg.norm(far)


def test_a_few_rows_are_enough_for_every_trainer():
    for trainer, task in ((LinearTrainer(LINEAR), LINEAR), (SklearnTrainer(MLP), MLP)):
        trained = trainer.train(frozen(task), X[:1], Y[:1])
        assert all(np.isfinite(array).all() for array in trained.values())


def test_other_seeds_shuffle_otherwise():
    one, two = (LinearTrainer(LINEAR, seed=seed).train(frozen(LINEAR), X, Y)["weight"] for seed in (0, 1))
    assert one.tolist() != two.tolist()


def without(monkeypatch, *absent: str) -> None:
    """As if the packages were not installed."""
    find_spec, import_module = importlib.util.find_spec, importlib.import_module

    def imported(name: str) -> object:
        if name.partition(".")[0] in absent:
            raise ImportError(name)
        return import_module(name)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else find_spec(name))
    monkeypatch.setattr(importlib, "import_module", imported)


def test_the_trainer_fits_the_task_and_what_is_installed(monkeypatch):
    assert isinstance(trainers.default_trainer(LINEAR), LinearTrainer)
    assert isinstance(trainers.default_trainer(MLP), SklearnTrainer)
    with pytest.raises(TrainerError, match="pass trainer="):
        trainers.default_trainer(CUSTOM)
    without(monkeypatch, "sklearn", "torch")
    with pytest.raises(TrainerError, match=r"boltz-client\[sklearn\]"):
        trainers.default_trainer(MLP)


def test_torch_stands_in_where_scikit_learn_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else object())
    assert isinstance(trainers.default_trainer(MLP), TorchTrainer)


def test_a_missing_extra_is_named(monkeypatch):
    without(monkeypatch, "sklearn", "torch")
    with pytest.raises(TrainerError, match=r"pip install 'boltz-client\[sklearn\]'"):
        SklearnTrainer(MLP).train(frozen(MLP), X, Y)
    with pytest.raises(TrainerError, match=r"pip install 'boltz-client\[torch\]'"):
        TorchTrainer(MLP).train(frozen(MLP), X, Y)


@needs_torch
def test_torch_trains_a_function_of_the_participants_own():
    task = structs.replace(CUSTOM, metric="mse")
    start = {"slope": np.zeros((3,), np.float32)}
    trainer = TorchTrainer(task, forward=lambda weights, rows: rows @ weights["slope"], epochs=20, learning_rate=0.05)
    trained = trainer.train(start, X, Y - 0.7)
    np.testing.assert_allclose(trained["slope"], [0.5, -0.3, 0.1], atol=0.05)
    assert trainer.evaluate(trained, X, Y - 0.7)["mse"] < 0.01
    with pytest.raises(TrainerError, match="forward"):
        TorchTrainer(task).train(start, X, Y)
