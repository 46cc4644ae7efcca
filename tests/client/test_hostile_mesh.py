"""A mesh, or someone in its place, that lies: each lie is refused, and nothing is sent."""

import hashlib
from datetime import timedelta

import httpx
import numpy as np
import pytest
from msgspec import structs

from boltz_client import FederatedClient
from boltz_client.errors import FederatedClientError, MeshAnswerError, UntrustedMeshError
from boltz_protocol import codec, signing, tensors
from boltz_protocol.messages import Receipt, RoundDescriptor, VersionManifest
from boltz_protocol.signing import Purpose
from tests.client.mesh_simulation import URL, SigningKey, SimulatedMesh, change_json, resigned, rsa_key

ROUND = r"GET .*/rounds/\w+$"
MANIFEST = r"GET .*/versions/\w+$"
ARTIFACT = "GET .*/artifact"
UPLOAD = "PUT .*/updates/"


def refused(client: FederatedClient, mesh: SimulatedMesh, data, words: str) -> FederatedClientError:
    """The round is refused with these words, before anything of the participant's was sent."""
    with pytest.raises(UntrustedMeshError, match=words) as caught:
        client.participate_in_round("boltz-core", data)
    assert mesh.count("^(PUT|POST .*/participation)") == 0
    return caught.value


# --- keys


def test_a_new_mesh_under_the_old_address_is_refused(mesh, client, make_client, data):
    client.pull("boltz-core")
    impostor = SimulatedMesh(clock=mesh.clock)
    impostor.clients = mesh.clients
    swapped = make_client(transport=impostor.transport())
    error = refused(swapped, impostor, data, "which no pinned key has named as its successor")
    assert impostor.signing_keys[0].kid in error.message
    assert client.pull("boltz-core").manifest.number == 0


def test_a_succession_signed_by_the_old_key_is_followed(mesh, client, make_client, data):
    mesh.rotate_signing_key()
    mesh.rotate_signing_key()
    client.participate_in_round("boltz-core", data)
    keys_asked = mesh.count("GET .*/keys")
    make_client().pull("boltz-core")
    assert mesh.count("GET .*/keys") == keys_asked, "the new pins were kept"


def test_a_succession_signed_by_a_stranger_is_refused(mesh, client, data):
    stranger = SigningKey()
    mesh.successions.append(mesh.succession(SigningKey(), stranger))
    mesh.signing_keys.append(stranger)
    refused(client, mesh, data, "no pinned key has named")


def test_a_succession_with_a_broken_signature_is_refused(mesh, client, data):
    old, new = mesh.signing_keys[0], SigningKey()
    forged = mesh.succession(SigningKey(), new)
    mesh.successions.append(structs.replace(forged, kid=old.kid))
    mesh.signing_keys.append(new)
    refused(client, mesh, data, "a succession of the mesh's keys does not hold")


def test_a_stolen_old_key_cannot_lead_elsewhere(mesh, client, make_client, data):
    first = mesh.signing_keys[0]
    mesh.rotate_signing_key()
    client.pull("boltz-core")
    thief = SigningKey()
    mesh.successions[:] = [mesh.succession(first, thief)]
    mesh.signing_keys[:] = [first, thief]
    refused(make_client(), mesh, data, "named two different successors")


def test_a_mesh_that_goes_back_to_a_succeeded_key_is_refused(mesh, client, data):
    old = mesh.signing_keys[0]
    mesh.rotate_signing_key()
    unknown = SigningKey()
    mesh.signing_keys[:] = [unknown, old]
    mesh.tamper(ROUND, resigned(mesh, Purpose.DESCRIPTOR, RoundDescriptor, key=unknown))
    refused(client, mesh, data, f"signs with the key {old.kid}")


def test_keys_known_beforehand_close_the_first_contact(mesh, make_client):
    right = make_client("right", pinned_keys=[mesh.signing_keys[0].kid])
    assert right.register(region="eu").status == "active"
    wrong = make_client("wrong", pinned_keys=[SigningKey().kid])
    with pytest.raises(UntrustedMeshError, match="not the mesh you were given keys for"):
        wrong.register(region="eu")
    assert mesh.count("POST .*/clients") == 1


def test_keys_given_later_must_be_those_pinned(mesh, client, make_client):
    with pytest.raises(UntrustedMeshError, match="not those in pinned_keys"):
        make_client(pinned_keys=[SigningKey().kid]).register(region="us-east-1")


def test_a_key_whose_id_is_not_its_thumbprint_is_no_key(mesh, make_client):
    mesh.tamper("GET .*/keys", change_json(lambda value: value["keys"][0].update(kid="A" * 43)))
    with pytest.raises(MeshAnswerError, match="a signing key that is none"):
        make_client().register(region="eu")


def test_a_mesh_without_keys_is_none(mesh, make_client):
    mesh.tamper("GET .*/keys", change_json(lambda value: value.update(keys=[])))
    with pytest.raises(UntrustedMeshError, match="any signing key"):
        make_client().register(region="eu")


# --- manifest and weights


def test_a_manifest_with_a_wrong_signature_is_refused(mesh, client, data):
    mesh.tamper(MANIFEST, change_json(lambda value: value.update(signature="A" * 86)))
    refused(client, mesh, data, "manifest does not hold")


def test_a_descriptor_played_as_a_manifest_is_refused(mesh, client):
    document = mesh.signing_keys[0].sign_document(mesh.descriptor(mesh.rounds[1]), Purpose.DESCRIPTOR)
    mesh.tamper(MANIFEST, lambda _body: codec.encode(document))
    with pytest.raises(UntrustedMeshError, match="manifest does not hold"):
        client.pull("boltz-core")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "other"}, "got the manifest of other"),
        ({"layout_digest": "0" * 64}, "its layout is not that of its task"),
        ({"weights_bytes": 10**15}, "contradicts itself: 1000000000000000 bytes"),
        ({"weights_bytes": 8}, "contradicts itself: 8 bytes"),
    ],
)
def test_a_manifest_that_contradicts_itself_starts_no_download(mesh, client, data, changes, words):
    mesh.tamper(MANIFEST, resigned(mesh, Purpose.MANIFEST, VersionManifest, **changes))
    refused(client, mesh, data, words)
    assert mesh.count(ARTIFACT) == 0


def test_a_manifest_whose_task_makes_no_sense_is_refused(mesh, client, data):
    broken = structs.replace(mesh.task, center=(0.0,))
    mesh.tamper(MANIFEST, resigned(mesh, Purpose.MANIFEST, VersionManifest, task=broken))
    refused(client, mesh, data, "contradicts itself")


def test_another_version_than_asked_for_is_refused(mesh, client, data):
    mesh.tamper(MANIFEST, resigned(mesh, Purpose.MANIFEST, VersionManifest, number=3))
    refused(client, mesh, data, "asked for boltz-core version 0, got the manifest of boltz-core version 3")


def test_weights_with_another_digest_are_refused_and_not_kept(mesh, client, data):
    mesh.tamper(ARTIFACT, lambda body: body[:-1] + b"\x01")
    refused(client, mesh, data, "do not have the digest of the signed manifest")
    assert list((client.home / "models").rglob("*.safetensors")) == []
    assert [path.name for path in (client.home / "models" / "boltz-core").iterdir()] == []


def test_weights_longer_than_promised_are_cut_off(mesh, client, data):
    mesh.tamper(ARTIFACT, lambda body: body + bytes(1000))
    refused(client, mesh, data, "longer than the")


def test_an_endless_download_is_cut_off_at_the_promised_length(mesh, client, data):
    served = 0

    def endless():
        nonlocal served
        while True:
            served += 4096
            yield bytes(4096)

    mesh.answer(ARTIFACT, 200, content=endless())
    refused(client, mesh, data, "longer than the")
    assert served <= 2 * 4096


def test_weights_under_another_etag_are_not_even_read(mesh, client, data):
    mesh.answer(ARTIFACT, 200, headers={"ETag": '"other"'}, content=b"x")
    refused(client, mesh, data, r"\(ETag\)")


def test_not_modified_is_refused_where_nothing_is_kept(mesh, client, data):
    mesh.answer(ARTIFACT, 304, headers={"ETag": f'"{mesh.manifests[0].weights_sha256}"'})
    refused(client, mesh, data, r"answered 304 \(not modified\) .* of which this home keeps none")
    assert mesh.count(ARTIFACT) == 1


def test_not_modified_in_the_middle_of_a_download_is_refused(mesh, client, data):
    mesh.tamper(ARTIFACT, lambda body: body[:100], times=1)
    mesh.answer(ARTIFACT, 304)
    refused(client, mesh, data, "of which this home keeps none")


def test_not_modified_for_a_new_version_does_not_pass_the_old_weights_off_as_it(mesh, client, data):
    client.pull("boltz-core")
    mesh.add_version(np.ones(4, np.float32))
    mesh.open_round()
    mesh.answer(ARTIFACT, 304)
    refused(client, mesh, data, "of which this home keeps none")


def test_not_modified_under_another_etag_is_refused(mesh, client, data):
    mesh.answer(ARTIFACT, 304, headers={"ETag": '"other"'})
    refused(client, mesh, data, r"\(ETag\)")


def test_a_manifest_not_modified_is_refused_where_none_is_kept(mesh, client, data):
    mesh.answer(MANIFEST, 304)
    with pytest.raises(MeshAnswerError, match=r"answered 304 \(not modified\) .* of which this home keeps nothing"):
        client.pull("boltz-core")


def test_a_manifest_sent_instead_of_not_modified_is_verified_like_any_other(mesh, client):
    client.pull("boltz-core")
    forged = SigningKey().sign_document(mesh.manifests[0], Purpose.MANIFEST)
    mesh.answer(MANIFEST, 200, content=codec.encode(forged))
    with pytest.raises(UntrustedMeshError):
        client.pull("boltz-core")


def test_weights_of_the_right_digest_and_the_wrong_layout_are_refused(mesh, client, data):
    other = tensors.Layout.of({"a": np.zeros(4, np.float32)})
    raw = tensors.encode_safetensors(np.zeros(4, np.float32), other)
    changes = {"weights_sha256": hashlib.sha256(raw).hexdigest(), "weights_bytes": len(raw)}
    mesh.manifests[0] = structs.replace(mesh.manifests[0], **changes)
    mesh.answer(ARTIFACT, 200, content=raw)
    refused(client, mesh, data, "do not fit the signed manifest")


# --- descriptor


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "other"}, "came with the descriptor of other round 1"),
        ({"round": 2}, "came with the descriptor of boltz-core round 2"),
        ({"base_sha256": "0" * 64}, "the round's base has the digest 0000"),
        ({"layout_digest": "0" * 64}, "names another layout or mode"),
    ],
)
def test_a_descriptor_of_another_place_is_refused(mesh, client, data, changes, words):
    mesh.tamper(ROUND, resigned(mesh, Purpose.DESCRIPTOR, RoundDescriptor, **changes))
    refused(client, mesh, data, words)


def test_a_descriptor_signed_by_a_stranger_is_refused(mesh, client, data):
    stranger = SigningKey()
    mesh.tamper(ROUND, resigned(mesh, Purpose.DESCRIPTOR, RoundDescriptor, key=stranger))
    refused(client, mesh, data, f"signed by {stranger.kid}")


def test_yesterdays_descriptor_is_refused(mesh, client, data):
    mesh.clock.seconds += timedelta(days=1).total_seconds()
    refused(client, mesh, data, "its descriptor says it closed at 2026-03-02 10:00:00 UTC")


def test_another_encryption_key_in_the_descriptor_does_not_get_past_its_signature(mesh, client, data):
    mesh.rounds[1].encryption = 1
    genuine = mesh.signing_keys[0].sign_document(mesh.descriptor(mesh.rounds[1]), Purpose.DESCRIPTOR)
    mesh.rounds[1].encryption = 0
    mesh.tamper(ROUND, change_json(lambda value: value["descriptor"].update(payload=genuine.payload)))
    refused(client, mesh, data, "descriptor does not hold")


def test_a_retired_encryption_key_is_not_sealed_for(mesh, client, data):
    jwk = signing.rsa_jwk(rsa_key(0).public_key(), state="retired", not_before=mesh.clock.utc())
    mesh.tamper(ROUND, resigned(mesh, Purpose.DESCRIPTOR, RoundDescriptor, encryption_key=jwk))
    refused(client, mesh, data, "not a current one")


def test_an_encryption_key_that_is_none_is_refused(mesh, client, data):
    jwk = structs.replace(mesh.encryption_jwk(mesh.rounds[1]), kid="A" * 43)
    mesh.tamper(ROUND, resigned(mesh, Purpose.DESCRIPTOR, RoundDescriptor, encryption_key=jwk))
    with pytest.raises(UntrustedMeshError, match="encryption key is none"):
        client.participate_in_round("boltz-core", data)
    assert mesh.count("^PUT") == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.update(descriptor=None), "is open but has no descriptor"),
        (lambda value: value.update(round=5), "asked for boltz-core round 1, got boltz-core round 5"),
    ],
)
def test_a_view_that_does_not_fit_is_refused(mesh, client, data, change, words):
    mesh.tamper(ROUND, change_json(change))
    with pytest.raises(UntrustedMeshError, match=words):
        client.participate_in_round("boltz-core", data, round_number=1)


# --- joining and receipts


def test_an_upload_id_for_another_client_is_not_used(mesh, client, data):
    mesh.tamper("POST .*/participation", change_json(lambda value: value.update(client_id="c_mallory")))
    with pytest.raises(UntrustedMeshError, match="the mesh answered for"):
        client.participate_in_round("boltz-core", data)
    assert mesh.count("^PUT") == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"body_sha256": "0" * 64}, "for other bytes"),
        ({"upload_id": "u_other"}, "not for boltz-core round 1"),
        ({"client_id": "c_other"}, "not for boltz-core round 1"),
        ({"log_by": None}, "before the update came"),
        ({"leaf": "e30"}, "promises no leaf of the log"),
    ],
)
def test_a_receipt_for_something_else_is_no_receipt(mesh, client, data, changes, words):
    if "log_by" in changes:
        changes = {"log_by": mesh.clock.utc() - timedelta(hours=1)}
    mesh.tamper(UPLOAD, resigned(mesh, Purpose.RECEIPT, Receipt, **changes))
    with pytest.raises(UntrustedMeshError, match=words):
        client.participate_in_round("boltz-core", data)


def test_after_a_forged_receipt_the_genuine_one_is_found(mesh, client, data):
    mesh.tamper(UPLOAD, resigned(mesh, Purpose.RECEIPT, Receipt, key=SigningKey()), times=1)
    with pytest.raises(UntrustedMeshError):
        client.participate_in_round("boltz-core", data)
    result = client.participate_in_round("boltz-core", data)
    assert result.resumed
    assert result.signed_receipt == mesh.the_update().receipt
    assert mesh.count("^PUT") == 1


def test_a_round_that_changes_with_its_key_is_refused(mesh, client, data):
    def retire(request: httpx.Request) -> bytes:
        mesh.retire_encryption_key()
        mesh.rounds[1].policy = structs.replace(mesh.rounds[1].policy, max_norm=1e9)
        return request

    mesh.tamper("POST .*/participation", retire, times=1)
    with pytest.raises(UntrustedMeshError, match="changed more than its encryption key"):
        client.participate_in_round("boltz-core", data)
    assert mesh.rounds[1].updates == {}


# --- answers that are none


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>hello</html>", "not of the protocol"),
        (b'{"v":1,"models":[], "more":1}', "not of the protocol"),
        (b'{"v": 1, "models": []}', "not in canonical form"),
        (b" " * (5 << 20), "longer than"),
    ],
)
def test_an_answer_that_is_not_of_the_protocol_is_refused(mesh, client, body, words):
    mesh.answer("GET .*/models$", 200, content=body)
    with pytest.raises(MeshAnswerError, match=words):
        client.models()


def test_a_redirect_is_not_followed(mesh, client):
    mesh.answer("GET .*/models$", 302, headers={"Location": f"{URL}/elsewhere"})
    with pytest.raises(MeshAnswerError, match="answered 302"):
        client.models()
    assert mesh.count("elsewhere") == 0


def test_a_compressed_answer_is_refused_before_it_unfolds(mesh, client):
    mesh.answer("GET .*/models$", 200, headers={"Content-Encoding": "gzip"}, content=iter([b"bomb"]))
    with pytest.raises(MeshAnswerError, match="content coding"):
        client.models()


def test_the_record_of_another_key_is_not_taken(mesh, make_client):
    mesh.tamper("POST .*/clients$", change_json(lambda value: value.update(kid="A" * 43)))
    with pytest.raises(UntrustedMeshError, match="record of another key"):
        make_client().register(region="eu")
