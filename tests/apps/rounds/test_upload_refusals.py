"""What is refused before an update is taken: each with its own answer, and nothing else changes."""

import hashlib
import time
from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.clients import services as clients
from apps.clients.models import Client, SpentNonce
from apps.rounds import services
from apps.rounds.models import Participation, Round, Update
from boltz_protocol import envelope
from tests.apps.hostile_envelopes import ENVELOPE_TYPE, Place, flipped, plain, seal, seal_plain, send, take_place
from tests.apps.places import submit, vector_of
from tests.apps.raw_wsgi import Interrupted, Unreadable, call
from tests.apps.signed_requests import SignedClient, Signer, enrolled, problem, refusal
from tests.apps.unchanged import nothing_changes

FAILED = (401, "authentication_failed")


@pytest.fixture
def body(place):
    return seal(place, vector_of(place.layout))


@pytest.fixture
def raw(wsgi_application):
    """Send a right upload of alpha whose body is any stream."""

    def put(place, stream, *, body, length=None, **headers):
        signed = place.client.signer.headers("PUT", place.path, body=body, content_type=ENVELOPE_TYPE)
        return call(
            wsgi_application,
            "PUT",
            place.path,
            signed | headers,
            stream,
            length=len(body) if length is None else length,
        )

    return put


# --- who asks ---------------------------------------------------------------------------------------------------------------


def test_a_wrong_signature_is_refused(place, body):
    headers = Signer().headers("PUT", place.path, body=body, content_type=ENVELOPE_TYPE, kid=place.client.signer.kid)
    with nothing_changes():
        assert refusal(place.client.http.put(place.path, content=body, headers=headers)) == FAILED


def test_a_signature_for_other_bytes_is_refused(place, body):
    with nothing_changes():
        answer = send(place, body, digest=hashlib.sha256(b"other bytes").digest())
        assert refusal(answer) == (422, "digest_mismatch")


def test_an_upload_that_is_played_again_is_refused_like_any_other_stranger(place, body):
    headers = place.client.signer.headers("PUT", place.path, body=body, content_type=ENVELOPE_TYPE)
    assert place.client.http.put(place.path, content=body, headers=headers).status_code == 202
    with nothing_changes():
        replayed = place.client.http.put(place.path, content=body, headers=headers)
        assert refusal(replayed) == FAILED
    unknown = SignedClient(place.client.http, Signer()).get(place.path)
    assert problem(replayed) == problem(unknown)
    reasons = [audit.read_detail(entry)["reason"] for entry in log.entries_of_type("authentication.failed")]
    assert "replayed" in reasons


@pytest.mark.parametrize("seconds", [-600, 600])
def test_a_clock_that_is_ten_minutes_off_is_told_the_time_and_nothing_is_taken(place, body, seconds):
    with nothing_changes():
        answer = send(place, body, created=int(time.time()) + seconds)
        assert refusal(answer) == (401, "clock_skew")
    assert abs(problem(answer).server_time.timestamp() - time.time()) < 5


def test_a_refused_upload_spends_no_nonce(place, body):
    spent = SpentNonce.objects.count()
    send(place, flipped(body, 0))
    assert SpentNonce.objects.count() == spent


# --- where it belongs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["boltz-other", "Boltz-Core", "boltz%00core", "x" * 5000])
def test_an_unknown_model_is_refused(place, body, name):
    with nothing_changes():
        assert refusal(send(place, body, path=place.path.replace("boltz-core", name))) == (404, "unknown_model")


@pytest.mark.parametrize("number", ["2", "0", "4294967297", "9" * 30])
def test_an_unknown_round_is_refused(place, body, number):
    with nothing_changes():
        answer = send(place, body, path=place.path.replace("rounds/1/", f"rounds/{number}/"))
        assert refusal(answer) == (404, "unknown_round")


def test_a_round_that_is_not_open_yet_can_not_be_joined(mesh, alpha):
    model = mesh.make_model("later", opened=False)
    services.open_round(model, opens_at=Round.objects.get().closes_at)
    with nothing_changes():
        answer = alpha.post("/api/v1/models/later/rounds/1/participation", {})
        assert refusal(answer) == (409, "round_not_open")
    assert "opens at" in problem(answer).detail


def test_an_upload_to_a_round_that_is_not_open_yet_is_refused(place, body):
    Round.objects.update(state="scheduled")
    with nothing_changes():
        assert refusal(send(place, body)) == (409, "round_not_open")


@pytest.mark.parametrize("state", ["sealed", "frozen", "aggregating", "published", "abandoned", "failed"])
def test_an_upload_after_the_seal_is_refused(place, body, state):
    Round.objects.update(state=state)
    with nothing_changes():
        assert refusal(send(place, body)) == (409, "round_sealed")


def test_an_upload_after_the_deadline_is_refused_before_anybody_has_sealed_the_round(place, body):
    Round.objects.update(closes_at=timezone.now() - timedelta(hours=1))
    with nothing_changes():
        assert refusal(send(place, body)) == (409, "round_sealed")


def test_a_round_that_is_sealed_while_the_body_is_under_way_takes_it_no_more(place, body, raw):
    stream = Interrupted(body, lambda: services.seal_round(Round.objects.get(), actor="test"))
    assert refusal(raw(place, stream, body=body)) == (409, "round_sealed")
    assert not Update.objects.exists()


def test_an_update_on_another_base_version_is_refused(place):
    with nothing_changes():
        answer = send(place, seal(place, vector_of(place.layout), base_sha256="0" * 64))
        assert refusal(answer) == (409, "wrong_base_version")


def test_a_client_that_has_not_joined_is_refused(mesh_http, place):
    stranger = Place(enrolled(mesh_http, "beta"), place.descriptor, place.upload_id, place.layout)
    with nothing_changes():
        assert refusal(send(stranger, seal(stranger, vector_of(place.layout)))) == (409, "not_joined")


def test_another_clients_upload_id_is_refused(place, joined):
    beta = joined("beta")
    thief = Place(beta.client, place.descriptor, place.upload_id, place.layout)
    with nothing_changes():
        assert refusal(send(thief, seal(thief, vector_of(place.layout)))) == (403, "not_your_upload")


def test_an_upload_id_of_another_round_of_the_same_client_is_refused(mesh, place):
    mesh.make_model("second")
    elsewhere = take_place(place.client, place.layout, model="second")
    mixed = Place(place.client, elsewhere.descriptor, place.upload_id, place.layout)
    with nothing_changes():
        assert refusal(send(mixed, seal(mixed, vector_of(place.layout)))) == (403, "not_your_upload")


@pytest.mark.parametrize("upload_id", ["made-up", "x" * 5000, "%00"])
def test_an_upload_id_that_nobody_was_given_is_refused(place, body, upload_id):
    with nothing_changes():
        answer = send(place, body, path=place.path.replace(place.upload_id, upload_id))
        assert refusal(answer) == (403, "not_your_upload")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"round": 2}, "round"),
        ({"model": "other"}, "model"),
        ({"upload_id": "another"}, "upload_id"),
        ({"client_id": "c_another"}, "client_id"),
        ({"client_kid": "A" * 43}, "client_kid"),
        ({"round": 2, "model": "other"}, "model, round"),
        ({"layout_digest": "0" * 64}, "layout"),
    ],
)
def test_a_header_that_names_another_place_is_refused(place, changes, named):
    with nothing_changes():
        answer = send(place, seal(place, vector_of(place.layout), **changes))
        assert refusal(answer) == (422, "header_mismatch")
    assert named in problem(answer).detail


def test_a_header_for_a_key_that_never_was_is_refused(place):
    with nothing_changes():
        answer = send(place, seal(place, vector_of(place.layout), server_kid="A" * 43))
        assert refusal(answer) == (409, "encryption_key_retired")


# --- the same again ---------------------------------------------------------------------------------------------------------


def test_the_same_bytes_get_the_same_receipt(place, body):
    first = send(place, body)
    assert first.status_code == 202
    with nothing_changes():
        again = send(place, body)
    assert (again.status_code, again.content) == (202, first.content)


def test_the_same_bytes_get_the_same_receipt_after_the_round_was_sealed(place, body):
    first = send(place, body)
    services.seal_round(Round.objects.get(), actor="test")
    with nothing_changes():
        assert send(place, body).content == first.content


def test_other_bytes_under_the_same_upload_id_are_a_conflict(place, body):
    assert send(place, body).status_code == 202
    with nothing_changes():
        assert refusal(send(place, seal(place, vector_of(place.layout, 2)))) == (409, "upload_conflict")


def test_a_second_upload_id_is_refused(place, body):
    assert send(place, body).status_code == 202
    second = Place(place.client, place.descriptor, "a-second-id", place.layout)
    with nothing_changes():
        assert refusal(send(second, seal(second, vector_of(place.layout)))) == (409, "already_submitted")


# --- the body ---------------------------------------------------------------------------------------------------------------


def test_a_body_over_the_limit_is_refused_before_it_is_read(place, raw):
    limit = envelope.max_envelope_bytes(place.layout)
    assert limit == place.descriptor.max_envelope_bytes
    with nothing_changes():
        answer = raw(place, Unreadable(), body=b"signed", length=limit + 1)
        assert refusal(answer) == (413, "body_too_large")
    assert str(limit) in problem(answer).detail


@pytest.mark.parametrize("encoding", ["gzip", "identity", "br"])
def test_a_content_encoding_is_refused_before_the_body_is_read(place, raw, encoding):
    with nothing_changes():
        answer = raw(place, Unreadable(), body=b"signed", **{"Content-Encoding": encoding})
        assert refusal(answer) == (415, "content_encoding_refused")


def test_a_body_of_unknown_length_is_refused_before_it_is_read(place, raw):
    with nothing_changes():
        answer = raw(place, Unreadable(), body=b"signed", **{"Transfer-Encoding": "chunked"})
        assert refusal(answer) == (411, "length_required")


def test_another_content_type_is_refused(place, body):
    with nothing_changes():
        assert refusal(send(place, body, content_type="application/json")) == (415, "unsupported_media_type")


def test_a_body_that_ends_too_early_is_refused(place, body, raw):
    with nothing_changes():
        answer = raw(place, Interrupted(body[:-1], lambda: None), body=body)
        assert refusal(answer) == (422, "body_incomplete")


def test_a_body_that_is_not_the_signed_one_is_refused(place, body, raw):
    with nothing_changes():
        answer = raw(place, Interrupted(flipped(body, len(body) - 1), lambda: None), body=body)
        assert refusal(answer) == (422, "digest_mismatch")


def test_an_empty_body_is_refused(place):
    with nothing_changes():
        answer = place.client.request("PUT", place.path, content_type=ENVELOPE_TYPE)
        assert answer.status_code in {415, 422}


@pytest.mark.parametrize("kept", [1, 3, 4, 7, 8, 100, 501, 502, 800])
def test_an_envelope_that_ends_inside_its_head_is_refused(place, body, kept):
    with nothing_changes():
        assert refusal(send(place, body[:kept])) == (422, "malformed_envelope")


@pytest.mark.parametrize("position", [0, 3, 4, 5, 8, 9, 40])
def test_a_flipped_bit_in_the_clear_head_is_refused(place, body, position):
    with nothing_changes():
        answer = send(place, flipped(body, position))
        assert problem(answer).code in {"malformed_envelope", "header_mismatch", "wrong_base_version"}


def test_an_envelope_that_announces_a_header_of_4_gb_is_refused(place):
    with nothing_changes():
        assert refusal(send(place, b"BTE1\xff\xff\xff\xff" + bytes(5000))) == (422, "malformed_envelope")


# --- standing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "code"),
    [("pending", "client_pending"), ("suspended", "client_suspended"), ("revoked", "client_suspended")],
)
def test_a_client_without_standing_can_not_take_part(place, body, state, code):
    Client.objects.update(state=state)
    path = place.path.rpartition("/updates/")[0]
    with nothing_changes():
        assert refusal(send(place, body)) == (403, code)
        assert refusal(place.client.post(f"{path}/participation", {})) == (403, code)
        for listing in ("/api/v1/models", path, place.path):
            assert refusal(place.client.get(listing)) == (403, code)


def test_a_client_that_is_suspended_while_its_body_is_under_way_is_refused(place, body, raw):
    stream = Interrupted(body, lambda: clients.suspend(Client.objects.get(), actor="test", reason="test"))
    assert refusal(raw(place, stream, body=body)) == (403, "client_suspended")
    assert not Update.objects.exists()


def test_a_client_that_is_resumed_can_send_what_was_refused(place, body):
    clients.suspend(Client.objects.get(), actor="test", reason="test")
    assert refusal(send(place, body)) == (403, "client_suspended")
    clients.resume(Client.objects.get(), actor="test", reason="test")
    assert send(place, body).status_code == 202


def test_a_revoked_key_sends_nothing_more(place, body):
    clients.revoke(Client.objects.get(), actor="test", reason="test")
    with nothing_changes():
        assert refusal(send(place, body)) == FAILED


# --- joining ----------------------------------------------------------------------------------------------------------------


def test_joining_again_names_the_same_upload_id(place):
    path = place.path.rpartition("/updates/")[0]
    with nothing_changes():
        assert place.upload_id in place.client.post(f"{path}/participation", {}).text


@pytest.mark.parametrize(
    ("body", "content_type", "answer"),
    [
        (b"", "application/json", (422, "malformed_message")),
        (b"\xff\x00", "application/json", (422, "malformed_message")),
        (b"null", "application/json", (422, "malformed_message")),
        (b"{} ", "application/json", (422, "malformed_message")),
        (b'{"trust":1}', "application/json", (422, "malformed_message")),
        (b"{}", "text/plain", (415, "unsupported_media_type")),
    ],
)
def test_joining_with_anything_but_an_empty_object_is_refused(mesh_http, place, body, content_type, answer):
    beta = enrolled(mesh_http, "beta")
    path = place.path.rpartition("/updates/")[0]
    with nothing_changes():
        refused = beta.post(f"{path}/participation", body=body, content_type=content_type)
        assert refusal(refused) == answer


def test_joining_after_the_seal_is_refused(mesh_http, place):
    beta = enrolled(mesh_http, "beta")
    services.seal_round(Round.objects.get(), actor="test")
    with nothing_changes():
        answer = beta.post("/api/v1/models/boltz-core/rounds/1/participation", {})
        assert refusal(answer) == (409, "round_sealed")


def test_joining_after_the_deadline_is_refused(mesh_http, place):
    beta = enrolled(mesh_http, "beta")
    Round.objects.update(closes_at=timezone.now() - timedelta(hours=1))
    with nothing_changes():
        answer = beta.post("/api/v1/models/boltz-core/rounds/1/participation", {})
        assert refusal(answer) == (409, "round_sealed")


def test_who_joined_before_the_seal_is_told_its_upload_id_after_it(place):
    services.seal_round(Round.objects.get(), actor="test")
    answer = place.client.post("/api/v1/models/boltz-core/rounds/1/participation", {})
    assert answer.status_code == 200
    assert Participation.objects.get().upload_id in answer.text


# --- what the sdk makes of it -----------------------------------------------------------------------------------------------


def test_a_right_update_is_taken_after_all_these_refusals(place, body):
    send(place, flipped(body, 0))
    send(place, seal_plain(place, plain(layout=place.layout), round=2))
    assert submit(place, np.zeros(place.layout.parameters, np.float32)).state == "received"
