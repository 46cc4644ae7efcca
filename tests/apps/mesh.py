"""A whole mesh in this process: real endpoints, real Postgres, the real SDK; workers are calls of the services.

def test_something(mesh):
    mesh.make_model("boltz-core", target=3)
    client = mesh.client("alpha")
    client.participate_in_round("boltz-core", data(seed=1), round_number=1)
    mesh.work()
"""

import functools
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings

from apps.aggregation import services as aggregation
from apps.keys import key_store
from apps.keys import services as keys
from apps.rounds import selectors, services
from apps.rounds.models import FederatedModel, Round, Update
from apps.rounds.selectors import held_looks
from apps.rounds.selectors.held_looks import HeldLooks
from boltz_client import FederatedClient
from boltz_core.rounds.states import RoundState, UpdateState
from boltz_federated import starter_models
from boltz_protocol.messages import RoundPolicy, TaskSpec
from tests.apps.signed_requests import BASE_URL

FEATURES = 9
MODEL = "boltz-core"
_load_der_private_key = functools.cache(key_store.load_der_private_key)
_rsa_keys = [rsa.generate_private_key(public_exponent=65537, key_size=3072) for _ in range(2)]


@pytest.fixture
def few_rsa_keys(monkeypatch):
    """RSA keys take up to a second to make and a fifth of one to check; tests share two. All else about them is real."""
    made = itertools.cycle(_rsa_keys)
    monkeypatch.setattr(keys.rsa, "generate_private_key", lambda **_: next(made))
    monkeypatch.setattr(key_store, "load_der_private_key", _load_der_private_key)


@pytest.fixture
def mesh(mesh_http, wsgi_application, few_rsa_keys, settings, monkeypatch, tmp_path):
    """A mesh with its keys made, in a data directory of its own.

    It holds no look: its own thread for that would not see what a test's transaction has not committed.
    """
    monkeypatch.setattr(held_looks, "HELD_LOOKS", HeldLooks(most=0))
    settings.BOLTZ_DATA_DIR = tmp_path / "data"
    settings.STORAGES = settings.STORAGES | {
        "versions": {
            "BACKEND": "apps.rounds.versions.DurableFileSystemStorage",
            "OPTIONS": {"location": tmp_path / "data" / "versions"},
        }
    }
    (tmp_path / "data" / "versions").mkdir(parents=True)
    keys.ensure_mesh_keys()
    return MeshInProcess(tmp_path, httpx.WSGITransport(app=wsgi_application))


@dataclass
class MeshInProcess:
    """The mesh, and hands to move it by."""

    directory: Path
    transport: httpx.BaseTransport
    clients: dict[str, FederatedClient] = field(default_factory=dict)

    def make_model(
        self, name: str = MODEL, *, opened: bool = True, keeps_open: bool = False, **policy: Any
    ) -> FederatedModel:
        """The starter model under any name, with changes to its policy; round 1 open."""
        content = starter_models.read("boltz-core")
        request = services.ModelRequest(
            name=name,
            task=msgspec.convert(content["task"], TaskSpec),
            policy=msgspec.convert(content["policy"] | {"quorum": 1} | policy, RoundPolicy),
            keeps_open=keeps_open,
        )
        model = services.create_model(request, actor="test")
        if opened:
            services.open_round(model)
        return model

    def client(self, name: str = "alpha", **options: Any) -> FederatedClient:
        """An enrolled client."""
        client = FederatedClient(
            name, BASE_URL, home=self.directory / "homes" / name, transport=self.transport, **options
        )
        client.register(region="eu-west-1", kind="edge_node")
        self.clients[name] = client
        return client

    def round(self, number: int = 1, model: str = MODEL) -> Round:
        """A round, read anew."""
        return selectors.find_round(model, str(number))

    def work(self) -> None:
        """What workers do: decide every update that waits, then aggregate what is frozen."""
        for update_id in Update.objects.filter(state=UpdateState.RECEIVED).values_list("pk", flat=True):
            services.process_update(update_id)
        for round_ in Round.objects.filter(state=RoundState.FROZEN):
            aggregation.aggregate_round(round_.pk)

    def finish_round(self, number: int = 1, model: str = MODEL) -> Round:
        """Seal a round by hand and see it through."""
        aggregation.aggregate_now(self.round(number, model), actor="test")
        return self.round(number, model)

    def files(self, *parts: str) -> list[Path]:
        """Files below a part of the data directory."""
        return sorted(path for path in Path(settings.BOLTZ_DATA_DIR, *parts).rglob("*") if path.is_file())


def data(seed: int = 1, rows: int = 60) -> dict[str, np.ndarray]:
    """Features like those of the starter model, and a target that depends on them."""
    rng = np.random.default_rng(seed)
    center, scale = (np.array(starter_models.read("boltz-core")["task"][name]) for name in ("center", "scale"))
    X = center + scale * rng.normal(size=(rows, FEATURES))
    y = 0.1 * (X[:, 0] - center[0]) / scale[0] + 0.05 * rng.normal(size=rows)
    return {"X": X, "y": y}
