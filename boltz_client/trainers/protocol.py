"""What a user's model must offer."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Weights: TypeAlias = Mapping[str, NDArray[Any]]


class Trainer(Protocol):
    """Two methods. X is scaled as the model's task says, shape (rows, features); y has shape (rows,)."""

    def train(self, weights: Weights, X: NDArray[np.float64], y: NDArray[np.float64]) -> Weights:
        """Start from `weights` (read-only arrays by name) and return new ones, with the same names and shapes."""
        ...

    def evaluate(self, weights: Weights, X: NDArray[np.float64], y: NDArray[np.float64]) -> Mapping[str, float]:
        """A few numbers by name that say how good `weights` are on X and y."""
        ...
