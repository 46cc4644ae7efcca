"""Clients that send vectors which the test knows, and keep them."""

from dataclasses import dataclass, field

import numpy as np

from tests.integration.running_mesh import KINDS

SENDERS = 4


@dataclass
class Sender:
    """One client with the vector that it sends; as a trainer it adds the vector to the weights that it is given."""

    name: str
    kind: str
    vector: np.ndarray
    examples: int = 100
    upload_ids: list[str] = field(default_factory=list)

    def train(self, weights, X, y):
        return {"w": weights["w"] + self.vector}

    def evaluate(self, weights, X, y):
        return {}

    def send(self, mesh, model, client=None):
        """Take part in round 1; the vectors of these tests build on weights of zero."""
        data = {"X": np.zeros((self.examples, 1)), "y": np.zeros(self.examples)}
        result = (client or mesh.client(self.name, self.kind)).participate_in_round(model, data, 1, trainer=self)
        self.upload_ids.append(result.upload_id)
        return result


def one_hot_senders(parameters):
    """Every coordinate belongs to one sender, so that each comes out as 1 when all were counted once."""
    return [
        Sender(f"one-hot-{index}", kind, np.where(np.arange(parameters) % SENDERS == index, SENDERS, 0).astype("<f4"))
        for index, kind in enumerate(KINDS)
    ]


def random_senders(parameters, *, seed):
    """Vectors and example counts that have nothing in common; one of them claims more than the cap."""
    random = np.random.default_rng(seed)
    return [
        Sender(f"random-{index}", kind, random.normal(size=parameters).astype("<f4"), examples)
        for index, (kind, examples) in enumerate(zip(KINDS, (37, 250, 1500, 1), strict=True))
    ]
