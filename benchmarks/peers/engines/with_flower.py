"""Flower's strategies, given what a ServerApp gives them: clients' replies, messages with arrays in ten tensors.

Unpacking these is a part of what is timed, as it is in a round; making them is not.
"""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from asked import Asked, Prepare, answer
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

TENSORS = 10
STRATEGIES: dict[str, Callable[[int, int], FedAvg]] = {
    "weighted_mean": lambda _n, _f: FedAvg(),
    "median": lambda _n, _f: FedMedian(),
    "trimmed_mean": lambda n, f: FedTrimmedAvg(beta=f / n),
    "krum": lambda _n, f: Krum(num_malicious_nodes=f),
    "multi_krum": lambda n, f: MultiKrum(num_malicious_nodes=f, num_nodes_to_select=n - f),
    "bulyan": lambda _n, f: Bulyan(num_malicious_nodes=f),
}


def prepared(work: str) -> Callable[[Asked], Prepare]:
    """A work of the table as Flower does it. A strategy uses up its messages, so each time has its own."""

    def of(asked: Asked) -> Prepare:
        tensors = [
            {f"tensor{number}": Array(part) for number, part in enumerate(np.array_split(row, TENSORS))}
            for row in asked.rows
        ]
        strategy = STRATEGIES[work](len(asked.rows), asked.byzantine)

        def prepare() -> Callable[[], Any]:
            replies = [reply(dict(arrays), examples) for arrays, examples in zip(tensors, asked.examples, strict=True)]
            return lambda: strategy.aggregate_train(1, replies)

        return prepare

    return of


def reply(arrays: dict[str, Array], examples: int) -> Message:
    """What a client sends when it has trained."""
    content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": examples})})
    return Message(content, dst_node_id=1, message_type="train")


def as_vector(result: tuple[ArrayRecord, MetricRecord]) -> NDArray[Any]:
    """The tensors, one behind the other."""
    return np.concatenate(result[0].to_numpy_ndarrays())


if __name__ == "__main__":
    logging.getLogger("flwr").setLevel(logging.ERROR)
    # a ServerApp's process is told these by whoever starts it
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    answer({work: prepared(work) for work in STRATEGIES}, as_vector)
