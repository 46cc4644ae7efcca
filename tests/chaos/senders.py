"""Clients that send vectors which the test knows, and keep them."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from tests.integration.running_mesh import KINDS

SENDERS = 4


@dataclass
class Sender:
    """One client with the vector that it sends; as a trainer it adds the vector to the weights that it is given.

    At the places `canary` it is the only one that sends anything but 0.
    """

    name: str
    kind: str
    vector: np.ndarray
    canary: np.ndarray
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
    places = [np.arange(parameters) % SENDERS == index for index in range(SENDERS)]
    return [
        Sender(f"one-hot-{index}", kind, np.where(places[index], SENDERS, 0).astype("<f4"), places[index])
        for index, kind in enumerate(KINDS)
    ]


def random_senders(parameters, *, seed):
    """Vectors and example counts that have nothing in common but a few canaries; one claims more than the cap."""
    random = np.random.default_rng(seed)
    owner = np.arange(parameters) % 1000
    senders = []
    for index, (kind, examples) in enumerate(zip(KINDS, (37, 250, 1500, 1), strict=True)):
        vector = np.where(owner < SENDERS, (owner == index) * SENDERS, random.normal(size=parameters))
        senders.append(Sender(f"random-{index}", kind, vector.astype("<f4"), owner == index, examples))
    return senders


def enrol(mesh, senders):
    """Let them enrol, before a fault may strike."""
    for sender in senders:
        mesh.client(sender.name, sender.kind)


def send_all(mesh, model, senders):
    """They take part in round 1, one after the other."""
    for sender in senders:
        sender.send(mesh, model)


@contextlib.contextmanager
def sending(mesh, model, senders):
    """They send at the same time, each in a thread; the block is left when all have their receipts."""
    enrol(mesh, senders)
    with ThreadPoolExecutor(len(senders)) as pool:
        sent = [pool.submit(sender.send, mesh, model) for sender in senders]
        yield
        for future in sent:
            future.result()
