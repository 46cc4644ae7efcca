"""Train on local data and take part in one round: `python example_local_train.py`, from any folder.

Needs a mesh, for example the one that `./dev up` starts. With --data it trains on your own .csv. Without, it trains on
random numbers shaped like the model's features, so that it runs anywhere: good for a look, not for a mesh that matters.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a checkout, started from this folder

from boltz_client.data_files import read_data
from boltz_client.errors import FederatedClientError
from boltz_protocol.messages import TaskSpec
from client.client_runtime import FederatedClient


def main() -> int:
    """Register, pull, train, send, and print what came back."""
    options = arguments()
    try:
        client = FederatedClient(options.name, options.url)
        client.register(region=options.region)
        model = client.pull(options.model)
        task = model.manifest.task
        data = read_data(options.data, target=task.target) if options.data else random_data(task)
        result = client.participate_in_round(
            options.model, data, round_number=options.round, wait_for_result=options.wait or False
        )
    except FederatedClientError as error:
        print(error.message, file=sys.stderr)
        return 1
    print(f"pulled {options.model} version {model.manifest.number}: {task.target} from {', '.join(task.features)}")
    print(f"trained on {result.examples} examples: {rounded(result.metrics)}")
    print(f"sent an update of norm {result.norm_sent:.4g} to round {result.round}: {result.decision}")
    print(f"receipt: sha256 {result.receipt.body_sha256}, in the log by {result.receipt.log_by:%Y-%m-%d %H:%M} UTC")
    return 0


def random_data(task: TaskSpec, *, rows: int = 200) -> dict[str, Any]:
    """Random features on the model's scale, and a target that depends on them a little."""
    random = np.random.default_rng(7)  # noqa: TID251 - an example that gives the same numbers each time
    scaled = random.normal(size=(rows, len(task.features)))
    y = 0.1 * scaled.mean(axis=1) + 0.05 * random.normal(size=rows)
    return {"X": scaled * np.array(task.scale) + np.array(task.center), "y": y}


def rounded(metrics: dict[str, float]) -> dict[str, float]:
    """Metrics for people."""
    return {name: float(f"{value:.4g}") for name, value in metrics.items()}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train on local data and take part in one round.")
    parser.add_argument("--url", default="http://localhost:8010")
    parser.add_argument("--name", default="example-client")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--model", default="boltz-core")
    parser.add_argument("--round", type=int, help="default: the current one")
    parser.add_argument("--data", type=Path, help="a .csv with the model's features and its target as columns")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait for the decision")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
