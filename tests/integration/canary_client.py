"""A participant with canaries in its data, in a process of its own that logs all that it can: `python canary_client.py HOW`."""

import argparse
import logging
import sys

import pandas as pd

from boltz_client import FederatedClient
from boltz_client.errors import DataError


class Constant:
    """A trainer whose weights owe nothing to the data."""

    def train(self, weights, X, y):
        return {name: array + 0.5 for name, array in weights.items()}

    def evaluate(self, weights, X, y):
        return {"rows": float(len(y))}


def main():
    parser = argparse.ArgumentParser()
    for name in ("--url", "--home", "--name", "--data", "--models"):
        parser.add_argument(name, required=True)
    parser.add_argument("--custom", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    frame = pd.read_csv(options.data, index_col=0)
    X, y = frame.drop(columns="target"), frame["target"]
    with FederatedClient(options.name, options.url, home=options.home) as client:
        client.register(region="eu-west-1")
        for model in options.models.split(","):
            if options.custom:
                result = client.participate_in_round(model, {"X": X.to_numpy(), "y": y.to_numpy()}, trainer=Constant())
            else:
                try:
                    client.participate_in_round(model, {"X": X.assign(account=X.index), "y": y})
                except DataError as error:
                    sys.stdout.write(f"{error}\n")
                result = client.participate_in_round(model, {"X": X, "y": y})
            sys.stdout.write(f"{result} {result.metrics} {client.status(model)}\n")
            logging.getLogger("participant").info("%r", result)


if __name__ == "__main__":
    main()
