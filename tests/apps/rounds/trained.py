"""Versions that one client makes, one round after the other, of data that is like the operator's or the opposite of it."""

from pathlib import Path

import numpy as np
import pytest

from apps.rounds import services
from apps.rounds.models import FederatedModel, ModelVersion, Round
from tests.apps.mesh import MODEL, MeshInProcess, data

GOOD, BAD = 1.0, -1.0


class Trained:
    """A model with versions, and hands to make the next one."""

    def __init__(self, mesh: MeshInProcess) -> None:
        self.mesh = mesh
        self.client = mesh.client("alpha")

    @property
    def model(self) -> FederatedModel:
        return FederatedModel.objects.get(name=MODEL)

    def version(self, number: int) -> ModelVersion:
        return ModelVersion.objects.select_related("model").get(model__name=MODEL, number=number)

    def states(self) -> list[str]:
        """Of each version, by number."""
        return list(ModelVersion.objects.order_by("number").values_list("state", flat=True))

    def open(self) -> Round:
        return services.open_round(self.model)

    def send(self, number: int, sign: float = GOOD) -> None:
        """Take part in an open round."""
        examples = data(seed=number, rows=120)
        self.client.participate_in_round(MODEL, examples | {"y": sign * examples["y"]}, round_number=number)

    def finish(self, number: int) -> ModelVersion:
        """See a round through; the version that it made."""
        return self.version(self.mesh.finish_round(number).version.number)

    def train(self, sign: float = GOOD) -> ModelVersion:
        """Open a round, take part, see it through."""
        round_ = self.open()
        self.send(round_.number, sign)
        return self.finish(round_.number)


@pytest.fixture
def trained(mesh) -> Trained:
    mesh.make_model(target=10, opened=False)
    return Trained(mesh)


@pytest.fixture
def holdout(tmp_path) -> Path:
    """Examples that no client has, like those of an honest one."""
    path = tmp_path / "holdout.npz"
    examples = data(seed=99, rows=300)
    np.savez(path, **examples)
    return path


@pytest.fixture
def gated(trained, holdout) -> Trained:
    """The model has a gate: the mean squared error may not grow."""
    services.set_gate(trained.model, services.GateRequest(holdout), actor="test", reason="we look first")
    return trained
