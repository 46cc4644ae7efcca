"""The version that must come out, computed again from what the clients have sent, in a way of its own.

Integers of 64 bits instead of the engine's pairs of floats: w = rint(examples / most * (2^20 - 1)),
n = rint(x / gamma), mean = (sum of w * n) * gamma / (sum of w), each float operation rounding once (aggregation.md).
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from boltz_protocol import tensors

LARGEST_WEIGHT = 2**20 - 1


@dataclass(frozen=True)
class Contribution:
    """What one client has sent: a vector of float32, and how many examples it claims."""

    vector: np.ndarray
    examples: int


def expected_weights(base, contributions, *, max_norm, example_cap):
    """The next weights, float32, on top of `base`."""
    counts = [min(sent.examples, example_cap) for sent in contributions]
    weights = [round(count / max(counts) * LARGEST_WEIGHT) for count in counts]
    gamma = 2.0 ** (math.ceil(math.log2(max_norm)) - 32)
    total = np.zeros(len(base), dtype=np.int64)
    for sent, weight in zip(contributions, weights, strict=True):
        # a few times 2^32 * 2^20: int64 holds it
        total += weight * np.rint(sent.vector.astype(np.float64) / gamma).astype(np.int64)
    return (base + total.astype(np.float64) * gamma / sum(weights)).astype("<f4")


def file_digest(tensors_by_name):
    """The SHA-256 of the file that holds these weights."""
    layout = tensors.Layout.of(tensors_by_name)
    vector = tensors.flatten(tensors_by_name, layout)
    return hashlib.sha256(tensors.encode_safetensors(vector, layout)).hexdigest()
