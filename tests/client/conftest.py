from collections.abc import Callable

import numpy as np
import pytest

from boltz_client import FederatedClient
from tests.client.mesh_simulation import URL, SimulatedMesh


@pytest.fixture
def mesh() -> SimulatedMesh:
    return SimulatedMesh()


@pytest.fixture
def make_client(mesh, tmp_path) -> Callable[..., FederatedClient]:
    """A client of `mesh`; the same name has the same home, as after a restart of its process."""

    def make(name: str = "alice", **options: object) -> FederatedClient:
        options.setdefault("home", tmp_path / name)
        options.setdefault("clock", mesh.clock.for_client(seed=len(name)))
        options.setdefault("transport", mesh.transport())
        return FederatedClient(name, URL, **options)

    return make


@pytest.fixture
def client(make_client) -> FederatedClient:
    """A registered client."""
    made = make_client()
    made.register(region="us-east-1")
    return made


@pytest.fixture
def data() -> dict[str, np.ndarray]:
    """Two hundred rows that a linear model can learn from."""
    random = np.random.default_rng(1)
    X = random.normal(size=(200, 3)) * [1, 50, 2] + [0, 100, 1]
    y = 0.5 * X[:, 0] - 0.2 * (X[:, 2] - 1) / 2 + 0.1 * random.normal(size=200)
    return {"X": X, "y": y}
