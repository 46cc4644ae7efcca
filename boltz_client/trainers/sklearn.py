"""The multi-layer perceptron on scikit-learn (MLPRegressor.partial_fit). Extra: boltz-client[sklearn]."""

import importlib
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boltz_client.errors import TrainerError
from boltz_client.trainers.linear import evaluate_task
from boltz_client.trainers.protocol import Weights
from boltz_protocol.messages import TaskSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SklearnTrainer:
    """A few epochs of MLPRegressor's own stochastic descent; the same input gives the same weights."""

    task: TaskSpec
    epochs: int = 3
    learning_rate: float = 0.005
    weight_decay: float = 1e-4
    batch_size: int = 32
    seed: int = 0

    def train(self, weights: Weights, X: Floats, y: Floats) -> Weights:
        """Descend from `weights`."""
        model = self._model(weights, X, y)
        for _ in range(self.epochs):
            model.partial_fit(X, y)
        pairs = zip(model.coefs_, model.intercepts_, strict=True)
        return dict(
            chain.from_iterable(
                ((f"layer{layer}.weight", weight), (f"layer{layer}.bias", bias))
                for layer, (weight, bias) in enumerate(pairs)
            )
        )

    def evaluate(self, weights: Weights, X: Floats, y: Floats) -> dict[str, float]:
        """Mean squared error and the task's own metric."""
        return evaluate_task(self.task, weights, X, y)

    def _model(self, weights: Weights, X: Floats, y: Floats) -> Any:
        try:
            network = importlib.import_module("sklearn.neural_network")
        except ImportError as error:
            raise TrainerError("scikit-learn is not installed: pip install 'boltz-client[sklearn]'") from error
        model = network.MLPRegressor(
            hidden_layer_sizes=self.task.hidden,
            activation=self.task.activation,
            solver="sgd",
            learning_rate_init=self.learning_rate,
            alpha=self.weight_decay,
            batch_size=min(self.batch_size, len(y)),
            random_state=self.seed,
        )
        model.batch_size = 1  # the one row below only makes the arrays; scikit-learn offers no other way to make them
        model.partial_fit(X[:1], y[:1])
        model.batch_size = min(self.batch_size, len(y))
        vars(model).pop("_optimizer", None)  # and its momentum is forgotten
        for layer in range(len(self.task.hidden) + 1):
            model.coefs_[layer][...] = weights[f"layer{layer}.weight"]
            model.intercepts_[layer][...] = weights[f"layer{layer}.bias"]
        return model
