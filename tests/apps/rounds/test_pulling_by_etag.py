"""The SDK keeps a manifest and weights, and asks the real endpoints for others than those."""

import httpx
import pytest

from apps.rounds.models import ModelVersion
from boltz_client.errors import MeshAnswerError
from tests.apps.mesh import data


class Recorded(httpx.BaseTransport):
    """Passes requests on; keeps what was asked and answered about manifests and weights.

    `lie` answers for weights in the mesh's place.
    """

    def __init__(self, mesh: httpx.BaseTransport) -> None:
        self.mesh = mesh
        self.lie: httpx.Response | None = None
        self.asked: list[str | None] = []
        self.answered: list[tuple[int, int]] = []
        self.manifests: list[tuple[int, int]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/artifact"):
            answer = self.mesh.handle_request(request)
            if "/versions/" in request.url.path:
                self.manifests.append((answer.status_code, len(answer.read())))
            return answer
        answer = self.lie or self.mesh.handle_request(request)
        body = answer.read()
        self.asked.append(request.headers.get("If-None-Match"))
        self.answered.append((answer.status_code, len(body)))
        return httpx.Response(answer.status_code, headers=answer.headers, content=body)


@pytest.fixture
def wire(mesh):
    mesh.make_model()
    mesh.transport = Recorded(mesh.transport)
    return mesh.transport


@pytest.fixture
def client(mesh, wire):
    return mesh.client()


def kept_file(client):
    (path,) = (client.home / "models" / "boltz-core").glob("*.safetensors")
    return path


def test_the_first_pull_has_nothing_to_compare(client, wire):
    client.pull("boltz-core")
    assert wire.asked == [None]
    assert wire.answered == [(200, ModelVersion.objects.get().weights_bytes)]


def test_the_second_pull_names_the_manifest_that_is_kept_and_gets_nothing(client, wire):
    first = client.pull("boltz-core")
    second = client.pull("boltz-core")
    assert wire.manifests[1] == (304, 0)
    assert len(wire.answered) == 1
    assert second.vector.tobytes() == first.vector.tobytes()


def test_taking_part_after_a_pull_asks_for_no_version(client, wire):
    client.pull("boltz-core")
    client.participate_in_round("boltz-core", data(), round_number=1)
    assert (len(wire.manifests), len(wire.answered)) == (1, 1)


def test_a_new_version_is_fetched_and_the_old_digest_not_offered(mesh, client, wire):
    client.participate_in_round("boltz-core", data(), round_number=1)
    mesh.work()
    mesh.finish_round()
    pulled = client.pull("boltz-core")
    assert pulled.manifest.number == 1
    assert (wire.asked[-1], wire.answered[-1][0]) == (None, 200)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\1"),
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ],
    ids=["changed", "cut", "empty", "gone"],
)
def test_a_kept_file_that_is_damaged_is_fetched_again(client, wire, damage):
    first = client.pull("boltz-core")
    sound = kept_file(client).read_bytes()
    damage(kept_file(client))
    again = client.pull("boltz-core")
    assert (wire.asked[1], wire.answered[1][0]) == (None, 200)
    assert again.vector.tobytes() == first.vector.tobytes()
    assert kept_file(client).read_bytes() == sound


def test_not_modified_does_not_stand_in_for_a_damaged_file(client, wire):
    client.pull("boltz-core")
    kept_file(client).write_bytes(b"other weights")
    wire.lie = httpx.Response(304)
    with pytest.raises(MeshAnswerError, match=r"304 .* of which this home keeps none"):
        client.pull("boltz-core")


def test_not_modified_where_nothing_is_kept_is_an_error_and_the_next_call_recovers(client, wire):
    wire.lie = httpx.Response(304)
    with pytest.raises(MeshAnswerError, match="version 0, of which this home keeps none; call again"):
        client.pull("boltz-core")
    wire.lie = None
    assert client.pull("boltz-core").manifest.number == 0


def test_a_mesh_that_lost_the_weights_is_no_loss_to_who_keeps_them(client, wire, settings):
    first = client.pull("boltz-core")
    (settings.BOLTZ_DATA_DIR / "versions" / ModelVersion.objects.get().storage_name()).unlink()
    assert client.pull("boltz-core").vector.tobytes() == first.vector.tobytes()
