"""Nothing is saved by fields: whatever a request carries, only decisions change anything, and only for those who may."""

import pytest
from django.contrib import admin
from django.forms.models import model_to_dict
from django.test import Client as Browser
from django.urls import reverse

from apps.aggregation.models import Heartbeat, Run
from apps.audit.models import LogEntry
from apps.clients.models import Client, EnrolmentToken, Organisation
from apps.keys.models import MeshKey
from apps.rounds.models import FederatedModel, ModelVersion, Round, Update
from tests.apps.admin.pages import add_page, decision_page, list_page, row_page, text_of
from tests.apps.mesh import data
from tests.browser.filled_mesh import fill

OURS = (
    Client,
    Organisation,
    EnrolmentToken,
    FederatedModel,
    ModelVersion,
    Round,
    Update,
    Run,
    MeshKey,
    LogEntry,
    Heartbeat,
)
MADE_BY_A_FORM = {EnrolmentToken, FederatedModel}


@pytest.fixture
def full_mesh(mesh, settings):
    fill(mesh, settings)
    return mesh


def test_a_forged_field_changes_nothing(browser, full_mesh):
    for kind in OURS:
        row = kind.objects.first()
        before = model_to_dict(row)
        forged = {field.name: "1" for field in kind._meta.concrete_fields} | {
            "state": "active",
            "credit": "1e9",
            "_save": "1",
        }
        assert browser.post(row_page(row), forged).status_code == 403, kind
        row.refresh_from_db()
        assert model_to_dict(row) == before


def test_a_decision_changes_what_it_says_and_no_field_that_came_with_it(browser, full_mesh):
    client = Client.objects.get(name="lakeside-edge")
    forged = {
        "reason": "audit",
        "credit": "1e9",
        "organisation": "1",
        "name": "root",
        "state": "revoked",
        "actor": "someone",
    }
    assert browser.post(decision_page(client, "suspend"), forged).status_code == 302
    found = Client.objects.get(pk=client.pk)
    assert (found.state, found.credit, found.name) == ("suspended", 48.0, "lakeside-edge")
    assert found.organisation == client.organisation


def test_nothing_is_added_or_deleted_behind_the_services(browser, full_mesh):
    for kind in OURS:
        row = kind.objects.first()
        assert browser.post(row_page(row).replace("change", "delete"), {"post": "yes"}).status_code == 403
        assert "delete_selected" not in admin.site._registry[kind].get_actions(
            browser.get(list_page(kind)).wsgi_request
        )
        if kind not in MADE_BY_A_FORM:
            assert browser.get(add_page(kind)).status_code == 403, kind
            assert browser.post(add_page(kind), {}).status_code == 403


def test_a_get_decides_nothing(browser, full_mesh):
    client = Client.objects.get(name="lakeside-edge")
    assert browser.get(decision_page(client, "suspend"), {"reason": "why"}).status_code == 200
    client.refresh_from_db()
    assert client.state == "active"


def test_a_request_forged_by_another_site_decides_nothing(operator, full_mesh):
    browser = Browser(enforce_csrf_checks=True)
    browser.force_login(operator)
    client = Client.objects.get(name="lakeside-edge")
    for page, fields in (
        (decision_page(client, "suspend"), {"reason": "why"}),
        (add_page(EnrolmentToken), {"organisation": "x", "max_uses": 1, "days": 1}),
        (list_page(Client), {"action": "revoke", "_selected_action": client.pk, "confirmed": "yes", "reason": "x"}),
    ):
        assert browser.post(page, fields).status_code == 403
    client.refresh_from_db()
    assert client.state == "active"


def test_who_may_only_look_is_offered_nothing_and_can_decide_nothing(browser_of, full_mesh):
    looking = browser_of(*(f"{kind._meta.app_label}.view_{kind._meta.model_name}" for kind in OURS))
    for kind in OURS:
        pages = admin.site._registry[kind]
        for row in kind.objects.all()[:3]:
            page = looking.get(row_page(row))
            assert page.status_code == 200
            assert "op-decisions" not in page.content.decode()
            for decision in getattr(pages, "decisions", ()):
                address = decision_page(row, decision.name)
                assert looking.get(address).status_code == 403
                assert looking.post(address, {"reason": "because"}).status_code == 403
        assert looking.get(add_page(kind)).status_code == 403
    assert looking.post(add_page(EnrolmentToken), {"organisation": "x", "max_uses": 1, "days": 1}).status_code == 403
    chosen = {"action": "revoke", "_selected_action": Client.objects.first().pk, "confirmed": "yes", "reason": "x"}
    looking.post(list_page(Client), chosen)
    assert not Client.objects.filter(state="revoked").exclude(name="stray-device").exists()


def test_who_may_see_one_kind_of_row_sees_no_other(browser_of, full_mesh):
    looking = browser_of("clients.view_client")
    dashboard = looking.get(reverse("admin:index"))
    assert dashboard.status_code == 200
    text = text_of(dashboard)
    assert "Models and their rounds" not in text
    assert "The log, newest first" not in text
    assert "spread-forecast" not in text
    assert "2 clients wait for approval" in text
    assert looking.get(list_page(Update)).status_code == 403
    version = ModelVersion.objects.first()
    assert looking.get(reverse("admin:rounds_modelversion_weights", args=[version.pk])).status_code == 403


def test_a_user_who_is_no_operator_is_kept_out(django_user_model, full_mesh, client):
    client.force_login(django_user_model.objects.create_user("nobody"))
    assert client.get(reverse("admin:index")).status_code == 302
    assert client.post(decision_page(Client.objects.first(), "revoke"), {"reason": "x"}).status_code == 302


def test_no_page_shows_a_secret(browser, full_mesh, settings):
    member = full_mesh.client("last")
    member.participate_in_round("boltz-core", data(9), round_number=3)
    full_mesh.work()
    update = Update.objects.filter(staged_key__isnull=False).first()
    leased = Update.objects.get(state="processing")
    secrets = [str(leased.lease_token), bytes(update.staged_key).hex(), settings.SECRET_KEY]
    secrets += [token.digest for token in EnrolmentToken.objects.all()]
    pages = [reverse("admin:index"), *(list_page(kind) for kind in OURS)]
    pages += [row_page(row) for kind in OURS for row in kind.objects.all()[:15]]
    for page in pages:
        body = browser.get(page).content.decode()
        assert not [secret for secret in secrets if secret in body], page
