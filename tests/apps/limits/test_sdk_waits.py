"""The SDK over a real socket, against real limits: it waits as it is told, succeeds, and doubles nothing."""

import time

import pytest

from apps.audit.models import LogEntry
from apps.rounds.models import Participation, Update
from boltz_client import FederatedClient
from boltz_client.clock import Clock
from boltz_client.errors import MeshBusyError
from boltz_core.limits.buckets import Limit
from tests.apps.mesh import MODEL, data

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def client(mesh, live_server, tmp_path, pauses):
    """A client in this process, behind a socket; its pauses are real, and noted."""
    mesh.make_model(MODEL, target=10)

    def sleep(seconds):
        pauses.append(seconds)
        time.sleep(seconds)

    with FederatedClient("alpha", live_server.url, home=tmp_path / "home", clock=Clock(sleep=sleep)) as made:
        made.register(region="eu-west-1", kind="edge_node")
        yield made


def test_an_upload_that_comes_too_early_is_sent_again_when_it_was_told_to(client, pauses, settings):
    # joining takes it all; four seconds later there is room again
    settings.BOLTZ_QUOTA_REQUESTS = Limit(0.25, 1)
    result = client.participate_in_round(MODEL, data(), round_number=1)
    assert [pause for pause in pauses if pause in {1, 2, 3, 4}]
    assert (Update.objects.count(), Participation.objects.count()) == (1, 1)
    assert Update.objects.get().body_sha256 == result.receipt.body_sha256
    assert LogEntry.objects.filter(type="update.received").count() == 1


def test_a_wait_beyond_its_patience_is_told_and_not_slept(client, pauses, settings):
    settings.BOLTZ_QUOTA_REQUESTS = Limit(1 / 600, 1)
    with pytest.raises(
        MeshBusyError, match=r"this client has joined this round or sent to it too often.*in \d+ seconds"
    ):
        client.participate_in_round(MODEL, data(), round_number=1)
    assert not [pause for pause in pauses if pause > 30]
    assert Update.objects.count() == 0
    settings.BOLTZ_QUOTA_REQUESTS = None
    client.participate_in_round(MODEL, data(), round_number=1)
    assert Update.objects.count() == 1
