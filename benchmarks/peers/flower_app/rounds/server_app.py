"""Federated averaging of one tensor over all clients, without evaluation."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train as long as the run's settings say."""
    settings = context.run_config
    clients = int(settings["clients"])
    weights = ArrayRecord({"weight": Array(np.zeros(int(settings["parameters"]), np.float32))})
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    strategy.start(grid=grid, initial_arrays=weights, num_rounds=int(settings["rounds"]))
