"""What the stories of this folder share."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.integration import running_demo

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def starter_task():
    """The task of boltz-core, as it lies beside the code."""
    return json.loads((ROOT / "boltz_federated" / "starter_models" / "boltz-core.json").read_text())["task"]


@pytest.fixture(scope="session")
def make_data(starter_task):
    """Features of the task's scale, and a target that follows from them but for noise."""

    def make(seed, rows=120):
        random = np.random.default_rng(seed)
        scaled = random.normal(size=(rows, len(starter_task["features"])))
        X = scaled * starter_task["scale"] + starter_task["center"]
        return {"X": X, "y": scaled @ np.linspace(0.2, -0.1, scaled.shape[1]) + 0.05 * random.normal(size=rows)}

    return make


@pytest.fixture(scope="session")
def default_demo(tmp_path_factory, worker_id):
    """`./dev demo` with its defaults, run once in a session of tests."""
    own = tmp_path_factory.getbasetemp()
    return running_demo.default_demo_of_this_session(own if worker_id == "master" else own.parent)
