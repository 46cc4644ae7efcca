"""Fixtures: a model with an open round, and a client that has joined it."""

from collections.abc import Callable

import numpy as np
import pytest

from apps.rounds.models import FederatedModel, Update
from boltz_protocol.tensors import Layout
from tests.apps.hostile_envelopes import Place, seal, send, take_place
from tests.apps.mesh import MODEL, MeshInProcess
from tests.apps.signed_requests import SignedClient, enrolled

NORM = 0.1


@pytest.fixture
def model(mesh: MeshInProcess) -> FederatedModel:
    """The starter model with round 1 open."""
    return mesh.make_model(MODEL, target=10)


@pytest.fixture
def layout(model: FederatedModel) -> Layout:
    return model.tensor_layout()


@pytest.fixture
def alpha(mesh_http, model) -> SignedClient:
    return enrolled(mesh_http, "alpha")


@pytest.fixture
def place(alpha, layout) -> Place:
    """Alpha's place in round 1."""
    return take_place(alpha, layout)


@pytest.fixture
def joined(mesh_http, layout) -> Callable[..., Place]:
    """More clients with a place in a round: `joined("beta")`."""
    return lambda name, round_number=1: take_place(enrolled(mesh_http, name), layout, round_number=round_number)


def vector_of(layout: Layout, seed: int = 1, *, norm: float = NORM) -> np.ndarray:
    """A random update of this norm."""
    vector = np.random.default_rng(seed).normal(size=layout.parameters)
    return (norm * vector / np.linalg.norm(vector)).astype(np.float32)


def submit(place: Place, vector: np.ndarray | None = None, **changes) -> Update:
    """Send a right update; its row."""
    vector = vector_of(place.layout) if vector is None else vector
    response = send(place, seal(place, vector, **changes))
    assert response.status_code == 202, response.text
    return Update.objects.get(pk=place.upload_id)
