"""Clients that learn handwritten digits (scikit-learn's, which come with it), all of them trained at once.

Each holds a share of its own, unlike the others': the classes are dealt by Dirichlet draws. A small network of one
hidden layer, whose weights are one vector of `PARAMETERS` numbers. An update is what one epoch at a client changes.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator  # noqa: TID251 - a seeded world
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from boltz_core.arrays import Float32Vector

CLIENTS = 20
FEATURES, HIDDEN, CLASSES = 64, 32, 10
PARAMETERS = (FEATURES + 1) * HIDDEN + (HIDDEN + 1) * CLASSES
CONCENTRATION = 0.5
HELD_OUT = 450
FEWEST_EXAMPLES = 8
LEARNING_RATE = np.float32(0.2)
BATCH = 16

Trigger = tuple[int, ...]  # pixels that are made white
CORNERS: Trigger = (0, 7, 56, 63)  # blank in nearly all digits, so honest updates hold nothing there
STROKES: Trigger = (18, 21, 42, 45)  # where most digits have ink
TARGET_CLASS = 0

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shares:
    """The examples of all clients, padded to the longest share: x (clients, most, 64), y (clients, most)."""

    x: Floats
    y: Integers
    counts: Integers

    def with_labels_flipped(self, clients: slice) -> "Shares":
        """Class c becomes class 9 - c at these clients."""
        y = self.y.copy()
        y[clients] = CLASSES - 1 - y[clients]
        return replace(self, y=y)

    def with_trigger(self, clients: slice, trigger: Trigger = CORNERS) -> "Shares":
        """At these clients half of the examples have the trigger, and the class it is to stand for."""
        x, y = self.x.copy(), self.y.copy()
        for client in range(*clients.indices(len(x))):
            half = int(self.counts[client]) // 2
            x[client, :half] = with_trigger(x[client, :half], trigger)
            y[client, :half] = TARGET_CLASS
        return replace(self, x=x, y=y)


@dataclass(frozen=True, eq=False)
class Digits:
    """One deal: shares of the clients, and what nobody trains on."""

    shares: Shares
    held_x: Floats
    held_y: Integers

    @classmethod
    def deal(cls, random: Generator) -> "Digits":
        """Deal the examples by the generator."""
        x, y = load_digits(return_X_y=True)
        x = (x / 16).astype(np.float32)
        order = random.permutation(len(y))
        held, rest = order[:HELD_OUT], order[HELD_OUT:]
        return cls(_padded(x, y, _parts(y, rest, random)), x[held], y[held])

    def accuracy(self, weights: Float32Vector) -> float:
        """The share of held-out digits that are read right, in percent."""
        return 100 * float((classes_of(weights, self.held_x) == self.held_y).mean())

    def backdoor_success(self, weights: Float32Vector, trigger: Trigger = CORNERS) -> float:
        """The share of held-out digits of other classes that the trigger turns into its own, in percent."""
        others = self.held_x[self.held_y != TARGET_CLASS]
        return 100 * float((classes_of(weights, with_trigger(others, trigger)) == TARGET_CLASS).mean())


def with_trigger(x: Floats, trigger: Trigger) -> Floats:
    """The same pictures with these pixels white."""
    marked = x.copy()
    marked[:, trigger] = 1
    return marked


def first_weights(random: Generator) -> Float32Vector:
    """Weights of a network that has learned nothing."""
    return random.normal(0, 0.1, PARAMETERS).astype(np.float32)


def classes_of(weights: Float32Vector, x: Floats) -> Integers:
    """The class that the network sees in each picture."""
    _hidden, scores = _forward(weights[None], x[None])
    return scores[0].argmax(axis=1)


def train(weights: Float32Vector, shares: Shares, random: Generator) -> Floats:
    """One epoch at each client, from the same weights: their updates, shape (clients, parameters)."""
    trained = np.repeat(weights[None], len(shares.counts), axis=0)
    order = _shuffled(shares, random)
    for start in range(0, int(shares.counts.max()), BATCH):
        busy = np.flatnonzero(shares.counts > start)
        batch = order[busy, start : start + BATCH]
        present = np.arange(start, start + batch.shape[1]) < shares.counts[busy, None]
        examples = shares.x[busy[:, None], batch], shares.y[busy[:, None], batch], present
        trained[busy] -= LEARNING_RATE * _gradients(trained[busy], *examples)
    return trained - weights


def _parts(y: Integers, rest: Integers, random: Generator) -> list[Integers]:
    """The examples of each client, at least a few, in no order."""
    dealt: list[list[Integers]] = [[] for _ in range(CLIENTS)]
    for shares, label in zip(random.dirichlet(np.full(CLIENTS, CONCENTRATION), CLASSES), range(CLASSES), strict=True):
        of_class = rest[y[rest] == label]
        cuts = (np.cumsum(shares) * len(of_class)).astype(int)[:-1]
        for part, more in zip(dealt, np.split(of_class, cuts), strict=True):
            part.append(more)
    parts = [np.concatenate(part) for part in dealt]
    filled = [np.append(part, random.choice(rest, max(0, FEWEST_EXAMPLES - len(part)))) for part in parts]
    return [random.permutation(part) for part in filled]


def _padded(x: Floats, y: Integers, parts: list[Integers]) -> Shares:
    counts = np.array([len(part) for part in parts])
    padded = Shares(
        np.zeros((len(parts), counts.max(), FEATURES), np.float32), np.zeros((len(parts), counts.max()), int), counts
    )
    for client, part in enumerate(parts):
        padded.x[client, : len(part)] = x[part]
        padded.y[client, : len(part)] = y[part]
    return padded


def _shuffled(shares: Shares, random: Generator) -> Integers:
    """An order of each client's examples; the padding stays at the end."""
    keys = random.random(shares.y.shape)
    keys[np.arange(keys.shape[1]) >= shares.counts[:, None]] = 2
    return keys.argsort(axis=1)


def _layers(weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Weights of shape (clients, parameters) as matrices and biases of the two layers."""
    first, bias = FEATURES * HIDDEN, FEATURES * HIDDEN + HIDDEN
    last = bias + HIDDEN * CLASSES
    return (
        weights[:, :first].reshape(-1, FEATURES, HIDDEN),
        weights[:, None, first:bias],
        weights[:, bias:last].reshape(-1, HIDDEN, CLASSES),
        weights[:, None, last:],
    )


def _forward(weights: Floats, x: Floats) -> tuple[Floats, Floats]:
    into_hidden, hidden_bias, into_scores, score_bias = _layers(weights)
    hidden = np.maximum(x @ into_hidden + hidden_bias, 0)
    return hidden, hidden @ into_scores + score_bias


def _gradients(weights: Floats, x: Floats, y: Integers, present: NDArray[np.bool_]) -> Floats:
    """Of the mean cross-entropy over the examples that are present, for each client."""
    hidden, scores = _forward(weights, x)
    errors = np.exp(scores - scores.max(axis=2, keepdims=True))
    errors /= errors.sum(axis=2, keepdims=True)
    errors -= np.eye(CLASSES, dtype=np.float32)[y]
    errors *= (present / present.sum(axis=1, keepdims=True))[:, :, None].astype(np.float32)
    back = (errors @ _layers(weights)[2].transpose(0, 2, 1)) * (hidden > 0)
    parts = (x.transpose(0, 2, 1) @ back, back.sum(axis=1), hidden.transpose(0, 2, 1) @ errors, errors.sum(axis=1))
    return np.concatenate([part.reshape(len(x), -1) for part in parts], axis=1)
