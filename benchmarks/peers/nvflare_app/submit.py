"""Runs in NVFlare's environment: submits a job of federated averaging and returns while it runs."""

import argparse
from pathlib import Path

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe.prod_env import ProdEnv

LOGIN_SECONDS = 120.0


def main() -> None:
    """Submit the job."""
    parser = argparse.ArgumentParser()
    for name in ("--parameters", "--clients", "--rounds"):
        parser.add_argument(name, type=int, required=True)
    for name in ("--kit", "--deliveries"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    weights = options.deliveries.with_name("weights.npy")
    np.save(weights, np.zeros(options.parameters, np.float32))
    recipe = NumpyFedAvgRecipe(
        name="rounds",
        initial_ckpt=str(weights),
        min_clients=options.clients,
        num_rounds=options.rounds,
        train_script=str(Path(__file__).with_name("train.py")),
        train_args=str(options.deliveries),
    )
    recipe.execute(ProdEnv(startup_kit_location=str(options.kit), login_timeout=LOGIN_SECONDS))


if __name__ == "__main__":
    main()
