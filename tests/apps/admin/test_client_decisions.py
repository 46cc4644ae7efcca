"""Approve, suspend, resume, revoke, assign: what an operator decides about clients, one at a time and several."""

import pytest

from apps.audit import services as audit
from apps.audit.models import LogEntry
from apps.clients.models import Client, ClientKey, Organisation
from apps.rounds.models import Update
from boltz_client.errors import FederatedClientError
from tests.apps.admin.pages import decision_page, errors_of, keep_connections_open, list_page, row_page, text_of
from tests.apps.mesh import MODEL, data


@pytest.fixture
def approval(settings):
    settings.BOLTZ_ENROLMENT = "approval"


def decide(browser, client, name, reason="because", **fields):
    return browser.post(decision_page(client, name), {"reason": reason, **fields}, follow=True)


def last_entry(type_):
    return LogEntry.objects.filter(type=type_).latest("created_at")


def test_a_waiting_client_is_approved_and_can_take_part(browser, operator, mesh, approval):
    waiting = mesh.client("alpha")
    client = Client.objects.get()
    assert client.state == "pending"

    page = decide(browser, client, "approve", reason="")

    assert "alpha: approved" in text_of(page)
    keep_connections_open()
    assert waiting.record().status == "active"
    entry = last_entry("client.approved")
    assert (entry.actor, entry.subject) == (audit.actor_of(operator), client.pseudonym)


def test_suspending_needs_a_reason_which_the_log_keeps(browser, operator, mesh):
    mesh.client("alpha")
    client = Client.objects.get()
    assert errors_of(browser.post(decision_page(client, "suspend"), {"reason": "  "})) == {
        "reason": ["This field is required."]
    }
    client.refresh_from_db()
    assert client.state == "active"

    decide(browser, client, "suspend", "sends too much")

    entry = last_entry("client.suspended")
    assert audit.read_detail(entry) == {"client": client.id, "reason": "sends too much"}
    assert entry.actor == audit.actor_of(operator)


def test_a_suspended_client_is_resumed(browser, mesh):
    mesh.client("alpha")
    client = Client.objects.get()
    decide(browser, client, "suspend")
    decide(browser, client, "resume")
    client.refresh_from_db()
    assert client.state == "active"
    assert last_entry("client.resumed").subject == client.pseudonym


def test_a_revoked_client_is_kept_out_and_its_key_is_dead(browser, mesh):
    revoked = mesh.client("alpha")
    client = Client.objects.get()
    page = decide(browser, client, "revoke", "key was sold")
    assert "alpha: revoked" in text_of(page)
    assert ClientKey.objects.get().state == "revoked"
    keep_connections_open()
    with pytest.raises(FederatedClientError):
        revoked.record()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("before", [[], ["suspend"], ["revoke"]])
def test_an_operator_erases_a_client_that_is_active_suspended_or_revoked(browser, operator, mesh, before):
    mesh.client("alpha")
    client, kid = Client.objects.get(), ClientKey.objects.get().kid
    for decision in before:
        decide(browser, client, decision)
    enrolled = LogEntry.objects.get(type="client.enrolled")

    page = browser.get(decision_page(client, "erase"))
    assert "cannot be undone" in text_of(page)
    assert errors_of(browser.post(decision_page(client, "erase"), {})) == {"reason": ["This field is required."]}
    decide(browser, client, "erase", "asked by letter of 3 May")

    found = Client.objects.get()
    assert (found.state, found.region, found.keys.get().state) == ("erased", "", "revoked")
    assert found.name.startswith("erased-")
    assert found.keys.get().kid == kid
    assert audit.read_detail(enrolled) is None
    assert last_entry("subject.forgotten").actor == last_entry("client.erased").actor == audit.actor_of(operator)


def test_the_log_keeps_why_an_operator_erased_a_client_though_its_details_are_gone(browser, operator, mesh):
    mesh.client("alpha")
    client = Client.objects.get()
    for _ in range(2):
        decide(browser, client, "erase", "asked by letter of 3 May")
    entry = LogEntry.objects.get(type="client.erasure_ordered")
    assert entry.actor == audit.actor_of(operator)
    assert audit.read_detail(entry) == {"client": client.pseudonym, "reason": "asked by letter of 3 May"}


@pytest.mark.django_db(transaction=True)
def test_what_a_client_that_is_erased_by_an_operator_has_sent_is_destroyed(browser, mesh):
    mesh.make_model(target=10)
    mesh.client("alpha").participate_in_round(MODEL, data(1), round_number=1)
    mesh.work()
    client = Client.objects.get()
    decide(browser, client, "revoke")
    assert mesh.files("inbox")
    decide(browser, client, "erase")
    update = Update.objects.get()
    assert (update.state, update.claims, update.staged_key) == ("erased", None, None)
    assert mesh.files("inbox") == mesh.files("staged") == []


def test_a_client_is_assigned_to_an_organisation_and_taken_out_again(browser, mesh):
    mesh.client("alpha")
    client, firm = Client.objects.get(), Organisation.objects.create(name="Harbor")
    decide(browser, client, "organisation", organisation=firm.pk)
    client.refresh_from_db()
    assert client.organisation == firm
    assert f'<option value="{firm.pk}" selected>' in browser.get(decision_page(client, "organisation")).content.decode()
    decide(browser, client, "organisation", organisation="")
    client.refresh_from_db()
    assert client.organisation is None
    assert LogEntry.objects.filter(type="client.assigned").count() == 2


def test_of_two_operators_the_slower_one_is_told_so(browser, mesh):
    mesh.client("alpha")
    client = Client.objects.get()
    decide(browser, client, "suspend")
    refused = browser.post(decision_page(client, "suspend"), {"reason": "again"})
    assert "the client is not active (any more)" in errors_of(refused)["__all__"][0]
    assert LogEntry.objects.filter(type="client.suspended").count() == 1


def test_a_page_offers_the_decisions_that_its_state_allows(browser, mesh, approval):
    mesh.client("alpha")
    client = Client.objects.get()

    def offered():
        return [decision.name for decision in browser.get(row_page(client)).context["decisions"]]

    assert offered() == ["approve", "organisation", "revoke", "erase"]
    decide(browser, client, "approve")
    assert offered() == ["suspend", "organisation", "revoke", "erase"]
    decide(browser, client, "suspend")
    assert offered() == ["resume", "organisation", "revoke", "erase"]
    decide(browser, client, "revoke")
    assert offered() == ["erase"]
    decide(browser, client, "erase")
    assert offered() == []


def test_a_decision_or_client_that_does_not_exist_is_not_found(browser, mesh):
    mesh.client("alpha")
    client = Client.objects.get()
    assert browser.get(decision_page(client, "promote")).status_code == 404
    client.pk = "c_nobody"
    assert browser.get(decision_page(client, "suspend")).status_code == 404


def many(browser, name, clients, **fields):
    sent = {"action": name, "_selected_action": [client.pk for client in clients], **fields}
    return browser.post(list_page(Client), sent, follow=True)


def test_several_waiting_clients_are_approved_after_a_page_that_names_them(browser, mesh, approval):
    for name in ("alpha", "beta", "gamma"):
        mesh.client(name)
    clients = list(Client.objects.order_by("name"))[:2]

    asked = many(browser, "approve", clients)

    assert Client.objects.filter(state="pending").count() == 3
    assert "alpha" in text_of(asked)
    assert "Approve: 2 selected" in text_of(asked)
    assert list(asked.context["page"].rows) == sorted(clients, key=lambda client: client.created_at, reverse=True)

    done = many(browser, "approve", clients, confirmed="yes", reason="")

    assert "2 of 2: approved" in text_of(done)
    assert set(Client.objects.filter(state="active")) == set(clients)
    assert LogEntry.objects.filter(type="client.approved").count() == 2


def test_several_decisions_without_the_reason_are_asked_again(browser, mesh):
    mesh.client("alpha")
    refused = many(browser, "revoke", Client.objects.all(), confirmed="yes", reason="")
    assert "reason" in errors_of(refused)
    assert Client.objects.get().state == "active"


def test_one_client_that_cannot_be_resumed_does_not_keep_the_others(browser, mesh):
    for name in ("alpha", "beta"):
        mesh.client(name)
    decide(browser, Client.objects.get(name="alpha"), "suspend")

    done = text_of(many(browser, "resume", Client.objects.all(), confirmed="yes", reason="settled"))

    assert "1 of 2: resumed" in done
    assert "beta: the client is not suspended (any more)" in done
    assert set(Client.objects.values_list("state", flat=True)) == {"active"}


def test_many_refusals_are_counted_not_listed(browser, mesh):
    for number in range(8):
        mesh.client(f"client-{number}")
    done = text_of(many(browser, "resume", Client.objects.all(), confirmed="yes", reason="settled"))
    assert "and 3 more were refused" in done
    assert "of 8: resumed" not in done
