from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.clients import selectors
from apps.clients import services as clients
from apps.clients.models import Client, Organisation
from boltz_core.rounds.states import WrongStateError
from boltz_protocol.messages import ClientRecord
from tests.apps.signed_requests import ME, enrolled, read
from tests.apps.together import together


@pytest.fixture
def alpha(mesh_http):
    client = enrolled(mesh_http, "alpha")
    return Client.objects.get(pk=client.record.id)


def state():
    return Client.objects.get().state


def test_an_operators_decisions_are_made_and_logged_with_their_reasons(alpha):
    clients.suspend(alpha, actor="operator_x", reason="odd norms")
    assert (alpha.state, state()) == ("suspended", "suspended")
    clients.resume(alpha, actor="operator_x", reason="explained")
    assert state() == "active"
    clients.revoke(alpha, actor="operator_x", reason="key stolen")
    assert state() == "revoked"
    entries = [entry for entry in reversed(log.entries_about(alpha.pseudonym)) if entry.actor == "operator_x"]
    assert [entry.type for entry in entries] == ["client.suspended", "client.resumed", "client.revoked"]
    assert [audit.read_detail(entry)["reason"] for entry in entries] == ["odd norms", "explained", "key stolen"]


def test_a_client_that_waits_is_approved_once(mesh_http, settings):
    settings.BOLTZ_ENROLMENT = "approval"
    enrolled(mesh_http, "alpha")
    client = selectors.clients_waiting().get()
    clients.approve(client, actor="system")
    with pytest.raises(WrongStateError):
        clients.approve(client, actor="system")
    assert state() == "active"


@pytest.mark.parametrize(
    ("change", "present"), [(clients.approve, "active"), (clients.resume, "active"), (clients.suspend, "suspended")]
)
def test_a_change_that_the_table_does_not_allow_is_refused(alpha, change, present):
    Client.objects.update(state=present)
    with pytest.raises(WrongStateError):
        change(alpha, actor="system", reason="x")
    assert state() == present
    assert log.entries_about(alpha.pseudonym).count() == 1


def test_what_is_revoked_stays_revoked(alpha):
    clients.revoke(alpha, actor="system", reason="x")
    for change in (clients.resume, clients.suspend, clients.revoke):
        with pytest.raises(WrongStateError):
            change(alpha, actor="system", reason="x")
    assert state() == "revoked"


@pytest.mark.django_db(transaction=True)
def test_of_two_operators_who_decide_at_once_one_is_told_so(mesh_http):
    enrolled(mesh_http, "alpha")
    copies = [Client.objects.get() for _ in range(2)]
    outcomes = together(*[lambda copy=copy: clients.suspend(copy, actor="system", reason="x") for copy in copies])
    assert sorted(map(type, outcomes), key=str) == sorted([type(None), WrongStateError], key=str)
    assert log.entries_of_type("client.suspended").count() == 1


def test_an_operator_says_which_organisation_a_client_belongs_to(mesh_http):
    client = enrolled(mesh_http, "alpha")
    row = Client.objects.get()
    clients.assign_organisation(row, Organisation.objects.create(name="Acme"), actor="system")
    assert read(client.get(ME), ClientRecord).organisation == "Acme"
    clients.assign_organisation(row, None, actor="system")
    assert read(client.get(ME), ClientRecord).organisation is None
    assert log.entries_of_type("client.assigned").count() == 2


def test_trust_is_shown_as_it_stands(alpha):
    Client.objects.update(credit=12.5, debt=0.5, rounds_seen=14)
    view = selectors.trust_view(Client.objects.get())
    assert (view.credit, view.debt, view.rounds) == (12.5, 0.5, 14)
    assert 0.6 < view.score < 0.9
    assert view.label == "building"


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "hedge_fund"}, {"state": "happy"}, {"credit": -1.0}, {"debt": -0.1}, {"name": "BETA"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_postgres_refuses_a_client_that_cannot_be(mesh_http, wrong):
    enrolled(mesh_http, "beta")
    client = enrolled(mesh_http, "alpha")
    with pytest.raises(IntegrityError), transaction.atomic():
        Client.objects.filter(pk=client.record.id).update(**wrong)


def test_postgres_refuses_a_second_active_key_and_a_short_one(mesh_http, alpha):
    for number, state_ in ((32, "active"), (31, "retired")):
        with pytest.raises(IntegrityError), transaction.atomic():
            alpha.keys.create(kid="x" * 43, public_key=b"k" * number, state=state_)


def test_postgres_refuses_to_overspend_a_token(db):
    _, token = clients.make_token(organisation="Acme", actor="system", valid_for=timedelta(days=1))
    with pytest.raises(IntegrityError), transaction.atomic():
        type(token).objects.update(uses=2)


def test_rows_have_names_for_people(mesh_http, alpha):
    assert str(alpha) == "alpha"
    assert str(Organisation(name="Acme")) == "Acme"
