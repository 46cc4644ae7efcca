import time

import pytest
from django.db import OperationalError
from django.http import HttpRequest
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.audit import services as audit
from apps.audit.models import LogEntry
from apps.clients import authentication
from apps.clients import services as clients
from apps.clients.models import Client, SpentNonce
from boltz_protocol.http_signature import ParsedSignature
from boltz_protocol.messages import ClientRecord
from tests.apps.signed_requests import CLIENTS, ME, SignedClient, Signer, enrolled, enrolment, problem, read, refusal
from tests.apps.together import together

KEYS = "/api/v1/clients/me/keys"
FAILED = (401, "authentication_failed")


@pytest.fixture
def alpha(mesh_http):
    return enrolled(mesh_http, "alpha")


def reasons():
    return [audit.read_detail(entry)["reason"] for entry in LogEntry.objects.filter(type="authentication.failed")]


def test_a_signed_request_is_answered(alpha):
    response = alpha.get(ME)
    assert response.status_code == 200
    assert read(response, ClientRecord) == alpha.record


def test_an_unsigned_request_is_refused(alpha):
    response = alpha.http.get(ME)
    assert refusal(response) == FAILED
    assert response.headers["www-authenticate"].startswith("Signature")
    assert reasons() == ["not_signed"]


def test_a_key_that_nobody_enrolled_is_refused(alpha):
    assert refusal(SignedClient(alpha.http, Signer()).get(ME)) == FAILED
    assert reasons() == ["unknown_key"]


def test_a_signature_by_another_key_than_the_one_named_is_refused(alpha):
    assert refusal(SignedClient(alpha.http, Signer()).get(ME, kid=alpha.signer.kid)) == FAILED
    assert reasons() == ["bad_signature"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", ME), ("GET", f"{ME}?x=1"), ("POST", KEYS)],
    ids=["another method", "another query", "another path"],
)
def test_a_signature_for_another_request_is_refused(alpha, method, path):
    response = alpha.http.request(method, path, headers=alpha.signer.headers("GET", ME))
    assert refusal(response) == FAILED
    assert Client.objects.get().state == "active"


def test_a_signature_for_another_mesh_is_refused(alpha):
    assert refusal(alpha.get(ME, authority="another.example")) == FAILED


def test_a_host_that_is_not_ours_is_refused(alpha):
    headers = alpha.signer.headers("GET", ME, authority="another.example")
    response = alpha.http.get(ME, headers=headers | {"Host": "another.example"})
    assert refusal(response) == (400, "bad_request")


def test_a_request_that_is_played_again_is_refused(alpha):
    headers = alpha.signer.headers("GET", ME)
    assert alpha.http.get(ME, headers=headers).status_code == 200
    assert refusal(alpha.http.get(ME, headers=headers)) == FAILED
    assert reasons() == ["replayed"]


def test_a_refused_request_cannot_be_played_again_when_it_would_be_granted(alpha):
    clients.suspend(Client.objects.get(), actor="system", reason="test")
    headers = alpha.signer.headers("POST", KEYS)
    assert refusal(alpha.http.post(KEYS, headers=headers)) == (403, "client_suspended")
    clients.resume(Client.objects.get(), actor="system", reason="test")
    assert refusal(alpha.http.post(KEYS, headers=headers)) == FAILED


@pytest.mark.parametrize("seconds", [-600, 600])
def test_a_clock_that_is_ten_minutes_off_is_told_the_time(alpha, seconds):
    response = alpha.get(ME, created=int(time.time()) + seconds)
    assert refusal(response) == (401, "clock_skew")
    told = problem(response).server_time
    assert abs(told.timestamp() - time.time()) < 5


def test_only_who_holds_the_key_learns_the_time(alpha):
    stranger = SignedClient(alpha.http, Signer())
    for kid in (alpha.signer.kid, None):
        response = stranger.get(ME, created=int(time.time()) - 600, kid=kid)
        assert refusal(response) == FAILED
        assert problem(response).server_time is None


def test_a_clock_that_is_half_a_minute_off_is_no_matter(alpha):
    assert alpha.get(ME, created=int(time.time()) + 30).status_code == 200


@pytest.mark.parametrize("broken", ["Signature", "Signature-Input"])
@pytest.mark.parametrize("value", [None, "", "rubbish", "sig=()", "sig=:AAAA:"])
def test_rubbish_in_the_place_of_a_signature_is_refused(alpha, broken, value):
    headers = alpha.signer.headers("GET", ME)
    del headers[broken]
    if value is not None:
        headers[broken] = value
    assert refusal(alpha.http.get(ME, headers=headers)) == FAILED


def test_an_empty_nonce_is_refused(alpha):
    headers = alpha.signer.headers("GET", ME)
    before, _, after = headers["Signature-Input"].partition('nonce="')
    headers["Signature-Input"] = before + 'nonce="' + after[after.index('"') :]
    assert refusal(alpha.http.get(ME, headers=headers)) == FAILED


def test_a_body_that_was_changed_on_the_way_is_refused(alpha):
    headers = alpha.signer.headers("POST", KEYS, body=b'{"v":1}')
    assert refusal(alpha.http.post(KEYS, content=b'{"v":2}', headers=headers)) == FAILED
    assert reasons() == ["digest_mismatch"]


def test_a_body_that_the_signature_does_not_cover_is_refused(alpha):
    headers = alpha.signer.headers("POST", KEYS) | {"Content-Type": "application/json"}
    assert refusal(alpha.http.post(KEYS, content=b'{"v":1}', headers=headers)) == FAILED


def test_a_digest_in_another_spelling_is_refused(alpha, monkeypatch):
    monkeypatch.setattr("boltz_protocol.http_signature.content_digest", lambda _: "md5=:AAAA:")
    assert refusal(alpha.post(KEYS, body=b'{"v":1}')) == FAILED
    assert reasons() == ["digest_malformed"]


def test_all_failures_look_alike(alpha):
    stranger = SignedClient(alpha.http, Signer())
    replayed = alpha.signer.headers("GET", ME)
    alpha.http.get(ME, headers=replayed)
    answers = [
        alpha.http.get(ME),
        alpha.http.get(ME, headers=replayed),
        alpha.get(ME, authority="another.example"),
        stranger.get(ME),
        stranger.get(ME, kid=alpha.signer.kid),
        alpha.http.get(ME, headers={"Signature": "x", "Signature-Input": "y"}),
    ]
    assert len({(answer.status_code, answer.content, tuple(sorted(answer.headers.items()))) for answer in answers}) == 1


def test_an_unknown_key_costs_a_verification_too(alpha, monkeypatch):
    """User enumeration by timing: the same expensive step runs whether the key is known or not."""
    verified = []
    real = authentication.signing.verify_signature
    monkeypatch.setattr(
        authentication.signing, "verify_signature", lambda *args: verified.append(args[0]) or real(*args)
    )
    stranger = SignedClient(alpha.http, Signer())
    assert refusal(stranger.get(ME)) == FAILED
    assert verified == [authentication.DUMMY_PUBLIC_KEY]


def test_the_key_that_stands_for_unknown_ones_lets_nobody_in(alpha, monkeypatch):
    stranger = SignedClient(alpha.http, Signer())
    monkeypatch.setattr(authentication, "DUMMY_PUBLIC_KEY", stranger.signer.public_key)
    assert refusal(stranger.get(ME)) == FAILED


def test_failures_of_one_source_are_one_entry_a_minute(alpha):
    for _ in range(20):
        alpha.http.get(ME)
    assert LogEntry.objects.filter(type="authentication.failed").count() in {1, 2}  # the minute may have turned


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Content-Encoding": "gzip"}, (415, "content_encoding_refused")),
        ({"Content-Encoding": ""}, (415, "content_encoding_refused")),
        ({"Content-Length": "999999999999"}, (413, "body_too_large")),
        ({"Content-Length": "65537"}, (413, "body_too_large")),
        ({"Content-Length": "-1"}, (400, "bad_request")),
        ({"Content-Length": "1e3"}, (400, "bad_request")),
        ({"Content-Length": "9" * 30}, (400, "bad_request")),
        ({"Transfer-Encoding": "chunked"}, (411, "length_required")),
        ({"Content-Length": "9"}, (400, "bad_request")),
    ],
)
@pytest.mark.parametrize("path", [KEYS, CLIENTS])
def test_a_body_is_judged_by_its_headers_before_it_is_read(alpha, headers, expected, path):
    signed = alpha.signer.headers("POST", path, body=b'{"v":1}')
    assert refusal(alpha.http.post(path, content=b'{"v":1}', headers=signed | headers)) == expected


def test_a_body_past_the_limit_is_not_kept_in_memory(alpha, monkeypatch):
    monkeypatch.setattr(HttpRequest, "body", property(lambda _: pytest.fail("the body was read")))
    headers = alpha.signer.headers("POST", KEYS, body=b"x" * 70_000)
    assert refusal(alpha.http.post(KEYS, content=b"x" * 70_000, headers=headers)) == (413, "body_too_large")


def test_a_body_without_length_is_refused(alpha):
    signed = alpha.signer.headers("POST", KEYS, body=b'{"v":1}')
    request = alpha.http.build_request("POST", KEYS, headers=signed, content=b'{"v":1}')
    del request.headers["Content-Length"]
    assert refusal(alpha.http.send(request)) == (411, "length_required")


def test_a_client_that_waits_or_is_suspended_is_told_so(mesh_http, settings):
    settings.BOLTZ_ENROLMENT = "approval"
    client = enrolled(mesh_http, "alpha")
    assert refusal(client.post(KEYS)) == (403, "client_pending")
    assert read(client.get(ME), ClientRecord).status == "pending"
    row = Client.objects.get()
    clients.approve(row, actor="system")
    clients.suspend(row, actor="system", reason="test")
    assert refusal(client.post(KEYS)) == (403, "client_suspended")
    assert read(client.get(ME), ClientRecord).status == "suspended"


def test_a_revoked_client_is_a_stranger_at_its_next_request(alpha):
    clients.revoke(Client.objects.get(), actor="system", reason="stolen")
    assert refusal(alpha.get(ME)) == FAILED


def test_a_database_that_is_away_is_said_with_a_time_to_come_back(alpha, monkeypatch):
    def away(kid):
        raise OperationalError("could not connect to server at 10.1.2.3")

    monkeypatch.setattr("apps.clients.selectors.signing_key", away)
    response = alpha.get(ME)
    assert refusal(response) == (503, "database_unavailable")
    assert response.headers["retry-after"] == "5"
    assert "10.1.2.3" not in response.text


def test_old_nonces_are_deleted_and_fresh_ones_kept(alpha):
    alpha.get(ME)
    assert clients.delete_old_nonces() == 0
    count = SpentNonce.objects.count()
    SpentNonce.objects.create(kid="k", nonce="n", expires_at="2020-01-01T00:00:00Z")
    assert str(SpentNonce.objects.get(kid="k")) == "n"
    assert clients.delete_old_nonces() == 1
    assert SpentNonce.objects.count() == count


@pytest.mark.django_db(transaction=True)
def test_a_nonce_that_many_spend_at_once_is_spent_once():
    parsed = ParsedSignature(kid="k" * 43, nonce="n" * 22, created=1, expires=2, base=b"", signature=b"")
    outcomes = together(*[lambda: clients.spend_nonce(parsed)] * 4)
    assert outcomes.count(None) == 1
    assert all(isinstance(outcome, clients.ReplayedError) for outcome in outcomes if outcome is not None)


def test_an_uploading_view_checks_its_own_body(alpha, rf):
    """`streams_body`: the headers are verified, the body is left alone and the nonce unspent."""

    class Upload(APIView):
        streams_body = frozenset({"PUT"})
        authentication_classes = (authentication.SignatureAuthentication,)
        permission_classes = (AllowAny,)

        def put(self, request):
            assert request.user.is_authenticated
            clients.spend_nonce(request.auth)
            return Response({"client": request.user.client.name, "body": len(request._request.read())})

    headers = alpha.signer.headers("PUT", "/upload", body=b"x" * 100_000, content_type="application/octet-stream")
    request = rf.put(
        "/upload",
        b"x" * 100_000,
        content_type="application/octet-stream",
        headers={name: value for name, value in headers.items() if name != "Content-Type"},
    )
    response = Upload.as_view()(request)
    assert (response.status_code, response.data) == (200, {"client": "alpha", "body": 100_000})


def test_enrolment_is_refused_without_a_body(mesh_http):
    assert refusal(mesh_http.post(CLIENTS)) == (422, "malformed_message")


def test_an_enrolled_name_may_hold_any_letters(mesh_http):
    client = enrolled(mesh_http, "Ürümqi Trading ☂")
    assert read(client.get(ME), ClientRecord).name == "Ürümqi Trading ☂"
    assert enrolment(client.signer).name == "alpha"
