"""Linear regression with numpy alone: mini-batch gradient descent.

One gentle pass a round, without momentum, lets the average do the work. Many local steps pull each client towards its
own data (client drift), which the average then has to undo: on the demo's market data, compared on training days only,
three passes with momentum are level from the first round where one pass rises over the rounds, a little higher.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boltz_client.trainers.protocol import Weights
from boltz_protocol import tasks
from boltz_protocol.messages import TaskSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LinearTrainer:
    """Squared loss, mini-batches in an order fixed by `seed`; the same input gives the same weights.

    Args:
        epochs: passes over the data. More of them fit one client's data closer and the federation's less.
        learning_rate: a ceiling; with many or large features the step is 1 / mean squared length of a row, which keeps
            momentum descent stable.
        weight_decay: pull of the weights (not the bias) towards zero.
        proximal: pull towards the weights that came in (FedProx), for data far from everybody else's.
    """

    task: TaskSpec
    epochs: int = 1
    learning_rate: float = 0.02
    momentum: float = 0.0
    weight_decay: float = 1e-3
    proximal: float = 0.0
    batch_size: int = 32
    seed: int = 0

    def train(self, weights: Weights, X: Floats, y: Floats) -> Weights:
        """Descend from `weights`. Source of `proximal`: Li et al. 2020 (arXiv:1812.06127), equation 2."""
        start = np.concatenate([weights["bias"], weights["weight"]]).astype(np.float64)
        rows = np.column_stack([np.ones(len(X)), X])
        decay = np.full(len(start), self.weight_decay)
        decay[0] = 0.0
        step = min(self.learning_rate, 1 / float(np.mean(np.sum(rows**2, axis=1))))
        current, velocity = start.copy(), np.zeros_like(start)
        for batch in self._batches(len(y)):
            residual = rows[batch] @ current - y[batch]
            gradient = rows[batch].T @ residual / len(batch)
            velocity = self.momentum * velocity + gradient + decay * current + self.proximal * (current - start)
            current = current - step * velocity
        return {"bias": current[:1], "weight": current[1:]}

    def evaluate(self, weights: Weights, X: Floats, y: Floats) -> dict[str, float]:
        """Mean squared error and the task's own metric."""
        return evaluate_task(self.task, weights, X, y)

    def _batches(self, n_rows: int) -> Iterator[NDArray[np.int64]]:
        order = np.random.default_rng(self.seed)  # noqa: TID251 - the order of rows is no secret, but must be repeatable
        for _ in range(self.epochs):
            yield from np.array_split(order.permutation(n_rows), max(1, n_rows // self.batch_size))


def evaluate_task(task: TaskSpec, weights: Weights, X: Floats, y: Floats) -> dict[str, float]:
    """Mean squared error and the task's own metric, for tasks that numpy can predict."""
    predicted = tasks.predict(task, weights, X)
    return {metric: tasks.score(metric, y, predicted) for metric in sorted({"mse", task.metric})}
