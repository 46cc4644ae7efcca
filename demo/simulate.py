"""The demo's task without a mesh: federated averaging in one process, with the trainer and the clip that clients use.

What is left out: sealing, signing, the network, and the integer grid of the sums (3e-7 relative). What is the same:
shares, task, trainer, `max_norm`, weights from capped example counts. So this says in seconds whether the task is worth
a mesh.
"""

from collections.abc import Sequence

import numpy as np

from boltz_client import update
from boltz_client.trainers import Trainer
from boltz_protocol import tasks, tensors
from boltz_protocol.messages import RoundPolicy, TaskSpec
from boltz_protocol.tensors import Float32Vector
from demo import federated
from demo.federated import Weights
from demo.market import Rows
from demo.metrics import Scores
from demo.shares import Share


def simulate(
    shares: Sequence[Share], task: TaskSpec, policy: RoundPolicy, *, trainer: Trainer, rounds: int
) -> list[Scores]:
    """The scores of each version, version 0 first; every client takes part in every round."""
    layout = tasks.layout_of(task)
    vector = tensors.flatten(tasks.seed_weights(task, seed=b""), layout)
    counts = np.array([min(len(share.train), policy.example_cap) for share in shares])
    scores = [federated.scores(shares, task, tensors.unflatten(vector, layout))]
    for _ in range(rounds):
        weights = tensors.unflatten(vector, layout)
        deltas = [client_delta(share.train, task, weights, trainer, max_norm=policy.max_norm) for share in shares]
        step = counts @ np.stack(deltas).astype(np.float64) / counts.sum()
        vector = (vector + step).astype(np.float32)
        scores.append(federated.scores(shares, task, tensors.unflatten(vector, layout)))
    return scores


def client_delta(rows: Rows, task: TaskSpec, weights: Weights, trainer: Trainer, *, max_norm: float) -> Float32Vector:
    """What one client would send."""
    layout = tasks.layout_of(task)
    trained = trainer.train(weights, tasks.scale_features(task, rows.X), rows.y)
    delta = tensors.flatten(trained, layout) - tensors.flatten(weights, layout)
    update.clip(delta, max_norm=max_norm)
    return delta
