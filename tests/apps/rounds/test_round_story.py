"""A round from its opening to the published version, with the real SDK on the real endpoints."""

import numpy as np
import pytest

from apps.rounds.models import Update
from tests.apps.mesh import data


def test_three_clients_train_a_version(mesh):
    mesh.make_model(target=3)
    results = [mesh.client(f"client-{n}").participate_in_round("boltz-core", data(n), round_number=1) for n in range(3)]

    mesh.work()

    round_ = mesh.round()
    assert (round_.state, round_.version.number, round_.version.members) == ("published", 1, 3)
    for result in results:
        told = result.wait(1)
        assert (told.status.state, told.status.version) == ("aggregated", 1)
        assert told.decision == "aggregated into version 1"
    assert sum(update.share for update in Update.objects.all()) == pytest.approx(1)
    pulled = mesh.clients["client-0"].pull("boltz-core")
    assert pulled.manifest.number == 1
    assert np.linalg.norm(pulled.vector) == pytest.approx(round_.version.step_norm, rel=1e-6)
