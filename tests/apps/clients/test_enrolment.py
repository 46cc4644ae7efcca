import hashlib
import secrets
from datetime import timedelta

import msgspec
import pytest

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.audit.models import LogEntry
from apps.clients import services as clients
from apps.clients.models import Client, ClientKey, EnrolmentToken, SpentNonce
from apps.clients.services import enrolment as enrolment_service
from boltz_protocol import codec
from boltz_protocol.encoding import base64url
from boltz_protocol.http_signature import ParsedSignature
from boltz_protocol.messages import ClientRecord
from tests.apps.signed_requests import CLIENTS, ME, SignedClient, Signer, enrolled, enrolment, read, refusal
from tests.apps.together import together


@pytest.fixture
def newcomer(mesh_http):
    return SignedClient(mesh_http, Signer())


def ask(client, name="alpha", **changes):
    return client.post(CLIENTS, enrolment(client.signer, name, **changes))


def token(**changes):
    fields = {"organisation": "Acme", "actor": "system", "valid_for": timedelta(days=7), **changes}
    return clients.make_token(**fields)[0]


def test_in_open_mode_anyone_is_active_at_once(newcomer):
    response = ask(newcomer)
    assert response.status_code == 201
    record = read(response, ClientRecord)
    assert (record.name, record.kind, record.region, record.status) == ("alpha", "edge_node", "eu-west-1", "active")
    assert (record.organisation, record.kid) == (None, newcomer.signer.kid)
    assert (record.trust.label, record.trust.rounds) == ("new", 0)


def test_the_enrolment_is_in_the_log_under_a_pseudonym(newcomer):
    ask(newcomer, "Ada Lovelace")
    client = Client.objects.get()
    entry = log.entries_about(client.pseudonym).get()
    assert (entry.type, entry.actor) == ("client.enrolled", client.pseudonym)
    assert b"Ada" not in bytes(entry.leaf)
    assert audit.read_detail(entry)["name"] == "Ada Lovelace"


def test_the_same_key_gets_the_same_client_again(newcomer):
    first, second = ask(newcomer), ask(newcomer)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.content == second.content
    assert (Client.objects.count(), LogEntry.objects.count()) == (1, 1)


def test_a_request_that_is_played_again_is_refused(newcomer):
    body = enrolment(newcomer.signer)
    assert newcomer.post(CLIENTS, body, nonce=b"n" * 16).status_code == 201
    replayed = newcomer.post(CLIENTS, body, nonce=b"n" * 16)
    assert refusal(replayed) == (401, "authentication_failed")
    assert replayed.content == newcomer.http.get(ME).content
    assert audit.read_detail(log.entries_of_type("authentication.failed").last()) == {"reason": "replayed"}


@pytest.mark.parametrize("name", ["alpha", "ALPHA"])
def test_a_name_is_not_given_twice(mesh_http, newcomer, name):
    enrolled(mesh_http, "alpha")
    assert refusal(ask(newcomer, name)) == (409, "name_taken")
    assert Client.objects.count() == 1


def test_a_key_does_not_become_a_second_client(mesh_http):
    client = enrolled(mesh_http, "alpha")
    assert refusal(ask(client, "beta")) == (409, "key_in_use")


def test_a_key_that_was_revoked_is_not_let_in_again(mesh_http):
    client = enrolled(mesh_http, "alpha")
    clients.revoke(Client.objects.get(), actor="system", reason="lost")
    assert refusal(ask(client)) == (409, "key_in_use")


def test_a_refused_request_leaves_nothing_behind(mesh_http, newcomer):
    enrolled(mesh_http, "alpha")
    nonces = SpentNonce.objects.count()
    ask(newcomer, "alpha")
    assert (ClientKey.objects.count(), SpentNonce.objects.count()) == (1, nonces)


def test_where_tokens_are_needed_nobody_enters_without(newcomer, settings):
    settings.BOLTZ_ENROLMENT = "token"
    assert refusal(ask(newcomer)) == (403, "token_refused")
    assert not Client.objects.exists()
    assert LogEntry.objects.get().type == "enrolment.refused"


def test_a_token_gives_the_organisation(newcomer, settings):
    settings.BOLTZ_ENROLMENT = "token"
    record = read(ask(newcomer, token=token()), ClientRecord)
    assert (record.organisation, record.status) == ("Acme", "active")
    assert EnrolmentToken.objects.get().uses == 1


def test_a_retry_does_not_use_a_token_twice(newcomer, settings):
    settings.BOLTZ_ENROLMENT = "token"
    text = token(max_uses=5)
    assert [ask(newcomer, token=text).status_code for _ in range(2)] == [201, 200]
    assert EnrolmentToken.objects.get().uses == 1


@pytest.mark.parametrize("mode", ["open", "token", "approval"])
def test_a_token_that_does_not_count_is_refused_in_every_mode(newcomer, settings, mode):
    settings.BOLTZ_ENROLMENT = mode
    assert refusal(ask(newcomer, token="bt_guess")) == (403, "token_refused")
    assert not Client.objects.exists()


@pytest.mark.parametrize(
    "changes", [{"kind": "partner_firm"}, {"valid_for": timedelta(days=-1)}], ids=["another kind", "expired"]
)
def test_a_token_lets_in_what_it_was_made_for(newcomer, changes):
    assert refusal(ask(newcomer, token=token(**changes))) == (403, "token_refused")
    assert EnrolmentToken.objects.get().uses == 0


def test_a_used_up_or_revoked_token_lets_nobody_in(mesh_http):
    text = token()
    enrolled(mesh_http, "alpha", token=text)
    assert refusal(ask(SignedClient(mesh_http, Signer()), "beta", token=text)) == (403, "token_refused")
    revoked = token()
    row = EnrolmentToken.objects.get(uses=0)
    assert [clients.revoke_token(row, actor="system") for _ in range(2)] == [True, False]
    assert refusal(ask(SignedClient(mesh_http, Signer()), "beta", token=revoked)) == (403, "token_refused")


def test_only_a_tokens_digest_is_kept(db):
    text = token()
    row = EnrolmentToken.objects.get()
    assert row.digest == hashlib.sha256(text.encode()).hexdigest()
    assert str(row) == f"token {row.digest[:8]} of Acme"
    assert not any(text in str(value) for value in EnrolmentToken.objects.values().get().values())


def test_where_operators_approve_a_client_waits(newcomer, settings):
    settings.BOLTZ_ENROLMENT = "approval"
    assert read(ask(newcomer), ClientRecord).status == "pending"
    clients.approve(Client.objects.get(), actor="system")
    assert read(ask(newcomer), ClientRecord).status == "active"


def test_where_operators_approve_a_token_does_it_for_them(newcomer, settings):
    settings.BOLTZ_ENROLMENT = "approval"
    assert read(ask(newcomer, token=token()), ClientRecord).status == "active"


def test_a_token_that_is_given_later_lets_in_a_client_that_waits(newcomer, settings):
    settings.BOLTZ_ENROLMENT = "approval"
    ask(newcomer)
    answer = ask(newcomer, token=token(max_uses=2))
    record = read(answer, ClientRecord)
    assert (answer.status_code, record.status, record.organisation) == (200, "active", "Acme")
    client = Client.objects.get()
    assert (client.state, client.organisation.name, EnrolmentToken.objects.get().uses) == ("active", "Acme", 1)
    assert newcomer.get(ME).content == answer.content
    entry = log.entries_of_type("client.let_in").get()
    assert (entry.actor, entry.subject) == (client.pseudonym, client.pseudonym)
    detail = {"client": client.id, "organisation": "Acme", "token": EnrolmentToken.objects.get().pk}
    assert audit.read_detail(entry) == detail


@pytest.mark.parametrize("changes", [{"kind": "partner_firm"}, {"valid_for": timedelta(days=-1)}])
def test_a_token_given_later_that_does_not_count_is_refused_and_the_client_waits_on(newcomer, settings, changes):
    settings.BOLTZ_ENROLMENT = "approval"
    ask(newcomer)
    for text in ("bt_guess", token(**changes)):
        assert refusal(ask(newcomer, token=text)) == (403, "token_refused")
    assert (Client.objects.get().state, EnrolmentToken.objects.get().uses) == ("pending", 0)
    assert log.entries_of_type("enrolment.refused").exists()


@pytest.mark.parametrize("state", ["active", "suspended"])
def test_a_token_changes_nothing_for_a_client_that_is_in_and_is_not_used_up(newcomer, state):
    ask(newcomer)
    Client.objects.update(state=state)
    text = token()
    for given in (text, "bt_guess"):
        record = read(ask(newcomer, token=given), ClientRecord)
        assert (record.status, record.organisation) == (state, None)
    assert EnrolmentToken.objects.get().uses == 0


def test_strangers_cannot_make_an_endless_list_of_clients_that_wait(mesh_http, settings, monkeypatch):
    settings.BOLTZ_ENROLMENT = "approval"
    monkeypatch.setattr(enrolment_service, "MAX_WAITING_CLIENTS", 1)
    enrolled(mesh_http, "alpha")
    response = ask(SignedClient(mesh_http, Signer()), "beta")
    assert refusal(response) == (429, "enrolment_full")
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("field", ["organisation", "state", "pseudonym", "credit"])
def test_a_client_cannot_set_what_is_not_its_to_set(newcomer, field):
    body = codec.encode({**msgspec.to_builtins(enrolment(newcomer.signer)), field: "Acme"})
    assert refusal(newcomer.post(CLIENTS, body=body)) == (422, "malformed_message")


def test_a_key_that_somebody_else_holds_cannot_be_enrolled(newcomer):
    victim = Signer()
    for kid in (victim.kid, newcomer.signer.kid):
        response = newcomer.post(CLIENTS, enrolment(victim), kid=kid)
        assert refusal(response) == (401, "authentication_failed")
    assert not Client.objects.exists()


def test_a_body_that_was_not_signed_cannot_be_enrolled(newcomer):
    response = newcomer.post(CLIENTS, enrolment(newcomer.signer), digest=b"\0" * 32)
    assert refusal(response) == (401, "authentication_failed")


def test_another_content_type_is_refused(newcomer):
    response = newcomer.post(CLIENTS, enrolment(newcomer.signer), content_type="text/plain")
    assert refusal(response) == (415, "unsupported_media_type")


def test_a_wrong_clock_is_told_the_time(newcomer):
    response = newcomer.post(CLIENTS, enrolment(newcomer.signer), created=1_000_000_000)
    assert refusal(response) == (401, "clock_skew")


@pytest.mark.django_db(transaction=True)
def test_a_token_is_not_overspent_when_many_use_it_at_once(settings):
    settings.BOLTZ_ENROLMENT = "token"
    text = token(max_uses=2)
    outcomes = together(*[lambda name=name: clients.enrol(verified(name, text)) for name in "abcde"])
    assert sum(isinstance(outcome, tuple) for outcome in outcomes) == 2
    assert Client.objects.count() == EnrolmentToken.objects.get().uses == 2


@pytest.mark.django_db(transaction=True)
def test_a_waiting_client_that_sends_its_token_twice_at_once_uses_it_once(settings):
    settings.BOLTZ_ENROLMENT = "approval"
    signer, text = Signer(), token(max_uses=3)
    clients.enrol(verified("alpha", signer=signer))
    outcomes = together(*[lambda: clients.enrol(verified("alpha", text, signer=signer))] * 3)
    assert {(record.status, created) for record, created in outcomes} == {("active", False)}
    assert EnrolmentToken.objects.get().uses == 1
    assert log.entries_of_type("client.let_in").count() == 1


@pytest.mark.django_db(transaction=True)
def test_one_key_that_enrols_with_and_without_its_token_at_once_is_let_in(settings):
    settings.BOLTZ_ENROLMENT = "approval"
    signer, text = Signer(), token()
    attempts = [verified("alpha", signer=signer), verified("alpha", text, signer=signer)]
    together(*[lambda attempt=attempt: clients.enrol(attempt) for attempt in attempts])
    assert (Client.objects.get().state, EnrolmentToken.objects.get().uses) == ("active", 1)


@pytest.mark.django_db(transaction=True)
def test_one_key_that_enrols_twice_at_once_is_one_client():
    signer = Signer()
    outcomes = together(*[lambda: clients.enrol(verified("alpha", signer=signer))] * 3)
    assert sorted(created for _, created in outcomes) == [False, False, True]
    assert len({record.id for record, _ in outcomes}) == Client.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_name_that_two_take_at_once_goes_to_one():
    outcomes = together(*[lambda: clients.enrol(verified("alpha"))] * 3)
    refused = [outcome for outcome in outcomes if isinstance(outcome, enrolment_service.EnrolmentRefusedError)]
    assert [error.code for error in refused] == ["name_taken", "name_taken"]
    assert Client.objects.count() == 1


def verified(name, text=None, *, signer=None):
    """A request to enrol as the authentication hands it over."""
    signer = signer or Signer()
    signature = ParsedSignature(
        kid=signer.kid, nonce=base64url(secrets.token_bytes(16)), created=1, expires=2, base=b"", signature=b""
    )
    return clients.VerifiedEnrolment(
        request=enrolment(signer, name, token=text), signature=signature, address="192.0.2.1"
    )
