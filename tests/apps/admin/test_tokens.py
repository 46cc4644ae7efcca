"""Enrolment tokens: the text is shown once; what is wrong with a form is said at its field."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.audit import services as audit
from apps.audit.models import LogEntry
from apps.clients import services as clients
from apps.clients.admin.tokens import state_of
from apps.clients.models import Client, EnrolmentToken
from boltz_client import FederatedClient
from boltz_client.errors import FederatedClientError
from tests.apps.admin.pages import (
    add_page,
    decision_page,
    errors_of,
    keep_connections_open,
    list_page,
    row_page,
    text_of,
)
from tests.apps.signed_requests import BASE_URL

WANTED = {"organisation": "Harbor", "kind": "edge_node", "max_uses": 2, "days": "1.5", "note": "for the new desk"}


def make(browser, **changes):
    return browser.post(add_page(EnrolmentToken), WANTED | changes)


def test_the_token_is_shown_once_and_lets_a_client_in(browser, operator, mesh, settings):
    settings.BOLTZ_ENROLMENT = "token"
    response = make(browser)
    text = response.context["text"]

    assert response.status_code == 200
    assert response.content.decode().count(text) == 1
    assert "no-store" in response["Cache-Control"]
    token = EnrolmentToken.objects.get()
    assert (token.organisation.name, token.kind, token.max_uses, token.note) == (
        "Harbor",
        "edge_node",
        2,
        "for the new desk",
    )
    assert timezone.now() + timedelta(hours=35) < token.expires_at < timezone.now() + timedelta(hours=37)
    entry = LogEntry.objects.get(type="token.made")
    assert entry.actor == audit.actor_of(operator)
    for page in (list_page(EnrolmentToken), row_page(token), add_page(EnrolmentToken)):
        assert text not in browser.get(page).content.decode()

    keep_connections_open()
    client = FederatedClient("alpha", BASE_URL, home=mesh.directory / "alpha", transport=mesh.transport)
    client.register(region="eu-west-1", kind="edge_node", token=text)
    assert Client.objects.get().organisation == token.organisation


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"organisation": ""}, "organisation"),
        ({"organisation": "a\x07b"}, "organisation"),
        ({"organisation": "x" * 129}, "organisation"),
        ({"kind": "mainframe"}, "kind"),
        ({"max_uses": 0}, "max_uses"),
        ({"max_uses": 10_001}, "max_uses"),
        ({"days": 0}, "days"),
        ({"days": -1}, "days"),
        ({"days": "nan"}, "days"),
        ({"days": 367}, "days"),
        ({"days": "soon"}, "days"),
        ({"note": "x" * 257}, "note"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_made(browser, changes, field):
    assert list(errors_of(make(browser, **changes))) == [field]
    assert not EnrolmentToken.objects.exists()


def test_a_revoked_token_lets_nobody_in(browser, operator, mesh, settings):
    settings.BOLTZ_ENROLMENT = "token"
    text, token = clients.make_token(organisation="Harbor", actor="test", valid_for=timedelta(days=1))

    page = browser.post(decision_page(token, "revoke"), follow=True)

    assert "revoked" in text_of(page)
    token.refresh_from_db()
    assert token.revoked
    assert LogEntry.objects.get(type="token.revoked").actor == audit.actor_of(operator)
    keep_connections_open()
    with pytest.raises(FederatedClientError):
        mesh.client("alpha", passphrase=None).register(region="x", token=text)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "active"),
        ({"revoked": True}, "revoked"),
        ({"uses": 3}, "used up"),
        ({"expires_at": timezone.now()}, "expired"),
    ],
)
def test_the_state_of_a_token_in_a_word(changes, word):
    fields = {"uses": 0, "max_uses": 3, "expires_at": timezone.now() + timedelta(days=1)}
    assert state_of(EnrolmentToken(**(fields | changes))) == word


def test_a_staff_member_without_the_right_makes_no_token(browser_of):
    page = browser_of("clients.view_enrolmenttoken")
    assert page.get(add_page(EnrolmentToken)).status_code == 403
    assert make(page).status_code == 403
    assert not EnrolmentToken.objects.exists()
