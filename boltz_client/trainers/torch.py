"""The multi-layer perceptron, or any function of named tensors, on PyTorch. Extra: boltz-client[torch]."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boltz_client.errors import TrainerError
from boltz_client.trainers.protocol import Weights
from boltz_protocol import tasks
from boltz_protocol.messages import TaskSpec

Floats = NDArray[np.float64]
Forward = Callable[[Mapping[str, Any], Any], Any]


@dataclass(frozen=True)
class TorchTrainer:
    """A few epochs of Adam on the squared loss, on the processor; the same input gives the same weights.

    Args:
        task: an mlp, or a custom task together with `forward`.
        forward: (tensors by name, X) -> predictions of shape (rows,); for an `nn.Module` whose parameters are named as
            the model's: `lambda weights, X: torch.func.functional_call(module, weights, (X,)).squeeze(-1)`.
    """

    task: TaskSpec
    forward: Forward | None = None
    epochs: int = 3
    learning_rate: float = 0.003
    weight_decay: float = 1e-4
    batch_size: int = 32
    seed: int = 0

    def train(self, weights: Weights, X: Floats, y: Floats) -> Weights:
        """Descend from `weights`."""
        torch = _torch()
        current = {name: _tensor(torch, array).requires_grad_() for name, array in weights.items()}
        rows, target, forward = _tensor(torch, X), _tensor(torch, y), self._forward(torch)
        optimizer = torch.optim.Adam(list(current.values()), lr=self.learning_rate, weight_decay=self.weight_decay)
        order = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epochs):
            for batch in torch.randperm(len(target), generator=order).split(self.batch_size):
                optimizer.zero_grad()
                loss = torch.mean((forward(current, rows[batch]) - target[batch]) ** 2)
                loss.backward()
                optimizer.step()
        return {name: tensor.detach().numpy() for name, tensor in current.items()}

    def evaluate(self, weights: Weights, X: Floats, y: Floats) -> dict[str, float]:
        """Mean squared error, and the task's own metric where numpy knows it."""
        torch = _torch()
        with torch.no_grad():
            current = {name: _tensor(torch, array) for name, array in weights.items()}
            predicted = self._forward(torch)(current, _tensor(torch, X)).numpy().astype(np.float64)
        metrics = {"mse", self.task.metric} & set(tasks.METRICS)
        return {metric: tasks.score(metric, y, predicted) for metric in sorted(metrics)}

    def _forward(self, torch: Any) -> Forward:
        if self.forward is not None:
            return self.forward
        if self.task.kind != "mlp":
            raise TrainerError("a custom task needs TorchTrainer(task, forward=...)")
        activation = torch.tanh if self.task.activation == "tanh" else torch.relu
        n_layers = len(self.task.hidden) + 1

        def perceptron(weights: Mapping[str, Any], values: Any) -> Any:
            for layer in range(n_layers):
                values = activation(values) if layer else values
                values = values @ weights[f"layer{layer}.weight"] + weights[f"layer{layer}.bias"]
            return values[:, 0]

        return perceptron


def _tensor(torch: Any, array: NDArray[Any]) -> Any:
    """A float32 copy: the weights that come in are read-only."""
    return torch.from_numpy(np.array(array, dtype=np.float32))


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise TrainerError("PyTorch is not installed: pip install 'boltz-client[torch]'") from error
