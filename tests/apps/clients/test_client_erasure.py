import pytest

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.audit.models import LogDetail, LogEntry, Subject
from apps.clients import services as clients
from apps.clients.models import Client, ClientKey
from apps.keys import services as keys
from tests.apps.signed_requests import CLIENTS, ME, SignedClient, Signer, enrolled, enrolment, refusal
from tests.apps.together import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def alpha(mesh_http):
    return enrolled(mesh_http, "Ada Lovelace", region="London")


@pytest.fixture
def listener():
    """Register a receiver of `client_erasing` for one test."""
    receivers = []

    def listen(receiver):
        receivers.append(receiver)
        clients.client_erasing.connect(receiver)

    yield listen
    for receiver in receivers:
        clients.client_erasing.disconnect(receiver)


def test_a_client_that_leaves_is_forgotten(alpha):
    pseudonym = Client.objects.get().pseudonym
    enrolled_entry = log.entries_about(pseudonym).get()
    assert alpha.delete(ME).status_code == 204
    client = Client.objects.get()
    assert (client.state, client.region, client.organisation) == ("erased", "", None)
    assert client.name.startswith("erased-")
    assert ClientKey.objects.get().state == "revoked"
    assert audit.read_detail(enrolled_entry) is None
    assert not keys.key_store().exists(Subject.objects.get().kid)


def test_no_row_of_any_table_holds_the_name_any_more(alpha):
    alpha.delete(ME)
    rows = [
        *Client.objects.values(),
        *LogEntry.objects.values(),
        *LogDetail.objects.values(),
        *Subject.objects.values(),
    ]
    text = repr(
        [{key: bytes(value) if isinstance(value, memoryview) else value for key, value in row.items()} for row in rows]
    )
    assert "Ada" not in text
    assert "London" not in text


def test_intent_and_deed_are_in_the_log(alpha):
    pseudonym = Client.objects.get().pseudonym
    alpha.delete(ME)
    types = [entry.type for entry in reversed(log.entries_about(pseudonym))]
    assert types == ["client.enrolled", "client.erased", "subject.forgetting_begun", "subject.forgotten"]
    assert {entry.actor for entry in log.entries_about(pseudonym)} == {pseudonym}


def test_leaving_again_is_answered_in_the_same_way(alpha):
    assert [alpha.delete(ME).status_code for _ in range(3)] == [204, 204, 204]
    assert log.entries_of_type("client.erased").count() == 1
    assert log.entries_of_type("subject.forgotten").count() == 1


def test_who_leaves_with_a_body_is_refused_since_nobody_would_read_it(alpha):
    assert refusal(alpha.request("DELETE", ME, body=b"{}")) == (422, "malformed_message")
    assert Client.objects.get().state == "active"


def test_an_erased_client_is_a_stranger_for_all_else(alpha):
    alpha.delete(ME)
    assert refusal(alpha.get(ME)) == (401, "authentication_failed")
    assert refusal(alpha.post("/api/v1/clients/me/keys")) == (401, "authentication_failed")
    assert refusal(alpha.post(CLIENTS, enrolment(alpha.signer, "Ada Lovelace"))) == (409, "key_in_use")


def test_a_stranger_erases_nobody(alpha):
    assert refusal(alpha.http.delete(ME)) == (401, "authentication_failed")
    assert refusal(SignedClient(alpha.http, Signer()).delete(ME)) == (401, "authentication_failed")
    assert Client.objects.get().state == "active"


def test_the_name_is_free_again(alpha):
    alpha.delete(ME)
    assert enrolled(alpha.http, "Ada Lovelace").record.status == "active"


@pytest.mark.parametrize("state", ["pending", "active", "suspended", "revoked"])
def test_a_client_is_erased_in_any_state(alpha, state):
    Client.objects.update(state=state)
    client = Client.objects.get()
    assert [clients.erase(client, actor="system") for _ in range(2)] == [True, False]
    assert (client.state, Client.objects.get().state) == ("erased", "erased")


def test_other_apps_erase_what_they_hold_in_the_same_transaction(alpha, listener):
    seen = []
    listener(lambda sender, client, actor, **_: seen.append((sender, client.name, actor)))
    clients.erase(Client.objects.get(), actor="operator_x")
    assert seen == [(Client, "Ada Lovelace", "operator_x")]


def test_when_another_app_cannot_erase_nothing_is_erased(alpha, listener):
    def failing(**_):
        raise ZeroDivisionError

    listener(failing)
    response = alpha.delete(ME)
    assert refusal(response) == (500, "server_fault")
    assert Client.objects.get().name == "Ada Lovelace"
    assert keys.key_store().exists(Subject.objects.get().kid)


def test_a_crash_before_the_key_is_destroyed_is_mended_by_the_tick(alpha, monkeypatch):
    with monkeypatch.context() as crash:
        crash.setattr("apps.clients.services.erasure._forget", lambda _: None)
        alpha.delete(ME)
    assert keys.key_store().exists(Subject.objects.get().kid)
    assert audit.finish_forgetting() == 1
    assert not keys.key_store().exists(Subject.objects.get().kid)


def test_a_crash_before_the_key_is_destroyed_is_mended_by_asking_again(alpha, monkeypatch):
    with monkeypatch.context() as crash:
        crash.setattr("apps.clients.services.erasure._forget", lambda _: None)
        alpha.delete(ME)
    assert alpha.delete(ME).status_code == 204
    assert not keys.key_store().exists(Subject.objects.get().kid)


def test_erasures_at_the_same_instant_are_one(alpha):
    client_id = Client.objects.get().pk
    outcomes = together(*[lambda: clients.erase(Client.objects.get(pk=client_id), actor="system")] * 3)
    assert sorted(outcomes) == [False, False, True]
    assert log.entries_of_type("subject.forgotten").count() == 1
