"""Pulling versions: fetched once, verified each time, kept as long as they are of use."""

import io

import numpy as np
import pytest

from boltz_client import versions
from boltz_client.errors import DataError, LocalError
from boltz_client.progress import SHOWN_FROM_BYTES, Progress
from boltz_protocol import codec
from boltz_protocol.signing import Purpose
from tests.client.mesh_simulation import FEATURES, Fault, SigningKey

ARTIFACT = "GET .*/artifact"
MANIFEST = "GET .*/versions/[^/]*$"


def answers_to(mesh, pattern) -> list[int]:
    """The bytes that each answer to requests of a kind had; counted from now on."""
    received: list[int] = []

    def count(request, proceed):
        answer = proceed(request)
        received.append(len(answer.content))
        return answer

    mesh.faults.append(Fault(pattern, 1000, count))
    return received


def test_what_is_current_is_asked_for_by_its_etag_and_not_sent_again(mesh, client, make_client):
    manifests, weights = answers_to(mesh, MANIFEST), answers_to(mesh, ARTIFACT)
    whole = mesh.manifests[0].weights_bytes
    client.pull("boltz-core")
    client.pull("boltz-core")
    make_client().pull("boltz-core")
    assert [bool(size) for size in manifests] == [True, False, False]
    assert weights == [whole]
    mesh.add_version(np.ones(4, np.float32))
    assert client.pull("boltz-core").vector.tolist() == [1, 1, 1, 1]
    assert [bool(size) for size in manifests] == [True, False, False, True]
    assert weights == [whole, whole]


def test_a_round_on_the_version_at_hand_asks_for_no_version(mesh, client, make_client, data):
    manifests, weights = answers_to(mesh, MANIFEST), answers_to(mesh, ARTIFACT)
    client.pull("boltz-core")
    client.participate_in_round("boltz-core", data, 1)
    assert (len(manifests), len(weights)) == (1, 1)
    mesh.publish(1)
    mesh.open_round()
    make_client().participate_in_round("boltz-core", data, 2)
    assert (len(manifests), len(weights)) == (2, 2)


def forged(mesh):
    """The right content, signed by a key that speaks for nobody."""
    return codec.encode(SigningKey().sign_document(mesh.manifests[0], Purpose.MANIFEST))


@pytest.mark.parametrize("kept", [forged, lambda _mesh: b"{", lambda _mesh: b""], ids=["forged", "cut", "empty"])
def test_a_manifest_at_hand_that_does_not_hold_is_asked_for_again(mesh, client, data, kept):
    client.pull("boltz-core")
    path = client.home / "models" / "boltz-core" / "manifest.json"
    right = path.read_bytes()
    path.write_bytes(kept(mesh))
    manifests = answers_to(mesh, MANIFEST)
    client.participate_in_round("boltz-core", data, 1)
    assert len(manifests) == 1
    assert path.read_bytes() == right


def test_weights_that_were_damaged_between_two_calls_are_asked_for_whole(mesh, client):
    received = answers_to(mesh, ARTIFACT)
    whole = mesh.manifests[0].weights_bytes
    client.pull("boltz-core")
    (kept,) = kept_files(client)
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x01")
    assert client.pull("boltz-core").vector.tolist() == [0, 0, 0, 0]
    assert received == [whole, whole]


def test_weights_that_nobody_has_touched_are_hashed_once(client, monkeypatch):
    hashed = []
    real = versions._digest_of
    monkeypatch.setattr(versions, "_digest_of", lambda path: hashed.append(path) or real(path))
    client.pull("boltz-core")
    client.pull("boltz-core")
    assert hashed == []
    (kept,) = kept_files(client)
    kept.touch()
    for _ in range(2):
        client.pull("boltz-core")
    assert hashed == [kept]


def kept_files(client):
    return list((client.home / "models" / "boltz-core").glob("*.safetensors"))


def test_old_versions_are_cleared_away(mesh, client):
    for number in range(1, 6):
        mesh.add_version(np.full(4, number, np.float32))
        client.pull("boltz-core")
    assert len(kept_files(client)) == 3


def test_weights_are_views_that_nobody_can_change(client):
    pulled = client.pull("boltz-core")
    assert set(pulled.weights) == {"bias", "weight"}
    with pytest.raises(ValueError, match="read-only"):
        pulled.weights["bias"][0] = 1


def test_predictions_take_raw_features_by_name_or_in_order(mesh, client):
    import pandas as pd

    mesh.add_version(np.array([1, 10, 0, 0.5], np.float32))
    pulled = client.pull("boltz-core")
    X = np.array([[0.1, 100.0, 3.0]])
    assert pulled.predict(X) == pytest.approx([1 + 1 + 0.5])
    frame = pd.DataFrame(X, columns=FEATURES)[list(reversed(FEATURES))]
    assert pulled.predict(frame) == pytest.approx([2.5])
    with pytest.raises(DataError, match="Missing: volume"):
        pulled.predict(frame.drop(columns="volume"))
    with pytest.raises(DataError, match="finite"):
        pulled.predict(X * np.nan)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_transfers_show_progress_on_a_terminal_only():
    total = SHOWN_FROM_BYTES * 2
    terminal, pipe, short = Terminal(), io.StringIO(), Terminal()
    for stream, size in ((terminal, total), (pipe, total), (short, SHOWN_FROM_BYTES)):
        progress = Progress("fetching boltz-core", size, stream=stream)
        for done in range(0, size + 1, size // 512):
            progress.at(done)
    assert pipe.getvalue() == short.getvalue() == ""
    assert terminal.getvalue().startswith("\rfetching boltz-core  0.0 of 16.8 MB  0 %")
    assert terminal.getvalue().endswith("16.8 of 16.8 MB  100 %\n")
    assert terminal.getvalue().count("\r") == 101


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"cut")], ids=["gone", "cut"]
)
def test_weights_that_vanish_during_training_are_said_by_name(mesh, client, data, damage):
    class Vandal:
        """Training takes time, and other programs go on."""

        def train(self, weights, X, y):
            damage(kept_files(client)[0])
            return dict(weights)

        def evaluate(self, weights, X, y):
            return {}

    with pytest.raises(LocalError, match=r"safetensors was changed while it was in use; call again"):
        client.participate_in_round("boltz-core", data, trainer=Vandal())
    assert client.participate_in_round("boltz-core", data).receipt
