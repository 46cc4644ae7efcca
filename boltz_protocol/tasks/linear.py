"""The linear task: target = features . weight + bias."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from boltz_protocol.messages import TensorSpec
from boltz_protocol.tensors import Float64Vector


def tensor_specs(n_features: int) -> tuple[TensorSpec, ...]:
    """The tensors of a linear task, in name order."""
    return (TensorSpec(name="bias", shape=(1,)), TensorSpec(name="weight", shape=(n_features,)))


def predict(weights: Mapping[str, NDArray[np.float64]], scaled: NDArray[np.float64]) -> Float64Vector:
    """Predict from scaled features of shape (n_rows, n_features); the answer has shape (n_rows,)."""
    prediction: Float64Vector = scaled @ weights["weight"] + weights["bias"][0]
    return prediction
