"""One client of `bench round` in a process of its own: takes part in rounds 1 to R and prints when what happened.

Its training costs nothing: it adds small numbers to the weights. What is measured is the mesh and the SDK.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from boltz_client import FederatedClient

PATIENCE_SECONDS = 300.0
DATA = {"X": np.ones((4, 1)), "y": np.ones(4)}


class Step:
    """A trainer that moves every weight by the same small number, and notes when it has done so."""

    def __init__(self, size: float) -> None:
        self._size = np.float32(size)
        self.trained_at = 0.0

    def train(self, weights: dict[str, Any], X: np.ndarray, y: np.ndarray) -> dict[str, Any]:  # noqa: ARG002 - a trainer
        """The weights, moved."""
        moved = {name: array + self._size for name, array in weights.items()}
        self.trained_at = time.time()
        return moved

    def evaluate(self, weights: dict[str, Any], X: np.ndarray, y: np.ndarray) -> dict[str, float]:  # noqa: ARG002 - a trainer
        """Nothing to say."""
        return {}


def main() -> None:
    """Enrol; at each word take part in the next round, and print one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.round_client")
    for name in ("--url", "--name", "--model"):
        parser.add_argument(name, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--size", type=float, required=True)
    options = parser.parse_args()
    trainer = Step(options.size)
    with FederatedClient(options.name, options.url, home=options.home, trainer=trainer) as client:
        client.register(region="bench")
        print("ready", flush=True)
        for number in range(1, options.rounds + 1):
            input()
            result = client.participate_in_round(
                options.model, DATA, number, wait_for_open=PATIENCE_SECONDS, wait_for_result=PATIENCE_SECONDS
            )
            if result.status is None or result.status.state != "aggregated":
                raise SystemExit(f"round {number}: {result.decision}")
            client.pull(options.model)
            print(json.dumps({"round": number, "trained": trainer.trained_at, "pulled": time.time()}), flush=True)


if __name__ == "__main__":
    main()
