"""The multi-layer perceptron: affine layers, the activation between them, one output.

Layer i has "layer{i}.weight" of shape (inputs, outputs) and "layer{i}.bias" of shape (outputs,), i from 0; the last has
one output. There are at most nine layers, so that name order is layer order.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from boltz_protocol.messages import TaskSpec, TensorSpec
from boltz_protocol.tensors import Float64Vector


def widths(task: TaskSpec) -> tuple[int, ...]:
    """The widths from the features through the hidden layers to the one output."""
    return (len(task.features), *task.hidden, 1)


def tensor_specs(layer_widths: Sequence[int]) -> tuple[TensorSpec, ...]:
    """The tensors of a perceptron of these widths, in name order."""
    return tuple(
        spec
        for layer, (inputs, outputs) in enumerate(pairwise(layer_widths))
        for spec in (
            TensorSpec(name=f"layer{layer}.bias", shape=(outputs,)),
            TensorSpec(name=f"layer{layer}.weight", shape=(inputs, outputs)),
        )
    )


def predict(
    weights: Mapping[str, NDArray[np.float64]],
    scaled: NDArray[np.float64],
    *,
    n_layers: int,
    activation: Literal["relu", "tanh"],
) -> Float64Vector:
    """Predict from scaled features of shape (n_rows, n_features); the answer has shape (n_rows,)."""
    values = scaled
    for layer in range(n_layers):
        if layer:
            values = np.tanh(values) if activation == "tanh" else np.maximum(values, 0)
        values = values @ weights[f"layer{layer}.weight"] + weights[f"layer{layer}.bias"]
    return values[:, 0]


def seed_weights(layer_widths: Sequence[int], *, seed: bytes) -> dict[str, NDArray[np.float32]]:
    """Glorot-uniform weights and zero biases, from SHAKE-256 of the seed and the layer's number.

    Each weight is (u / 2^31 - 1) * sqrt(6 / (inputs + outputs)), u the next 32 bits of the stream, little-endian:
    elementwise IEEE operations only, so that every machine gets the same bits.

    Source: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks",
        equation 16.
    """
    weights: dict[str, NDArray[np.float32]] = {}
    for layer, (inputs, outputs) in enumerate(pairwise(layer_widths)):
        stream = hashlib.shake_256(b"boltz-mesh/v1/seed-weights\0" + bytes([layer]) + seed).digest(4 * inputs * outputs)
        unit = np.frombuffer(stream, np.dtype("<u4")).astype(np.float64) / 2**31 - 1
        weight = (unit * math.sqrt(6 / (inputs + outputs))).astype(np.float32)
        weights[f"layer{layer}.weight"] = weight.reshape(inputs, outputs)
        weights[f"layer{layer}.bias"] = np.zeros(outputs, np.float32)
    return weights
