"""What an operator's browser never sends: a null character, which no text in Postgres can hold."""

import pytest
from django.contrib import admin
from django.urls import reverse

from apps.clients.models import Client
from tests.apps.admin.pages import list_page
from tests.apps.signed_requests import refusal


@pytest.fixture
def answers(browser):
    """The browser, which is told of a failure as a person is: by an answer."""
    browser.raise_request_exception = False
    return browser


def text_fields(kind):
    return [field.name for field in kind._meta.fields if field.get_internal_type() in {"CharField", "TextField"}]


def test_a_null_character_in_a_lookup_of_any_list_is_a_bad_request(answers, mesh):
    for kind in admin.site._registry:
        for field in text_fields(kind):
            for lookup in (field, f"{field}__exact", f"{field}__icontains"):
                response = answers.get(f"{list_page(kind)}?{lookup}=a%00b")
                assert response.status_code == 400, (kind, lookup)


@pytest.mark.parametrize("query", ["round=a%00/1", "code=%00", "state__exact=%00", "round__model__name=%00"])
def test_a_null_character_in_a_filter_of_updates_is_a_bad_request(answers, mesh, query):
    assert answers.get(f"{reverse('admin:rounds_update_changelist')}?{query}").status_code == 400


def test_a_percent_sign_before_two_zeros_is_no_null_character(answers, mesh):
    assert answers.get(f"{list_page(Client)}?region=%2500").status_code == 200


def test_a_row_that_is_chosen_by_a_null_character_is_a_bad_request(answers, mesh):
    mesh.client("alpha")
    forged = {"action": "revoke", "_selected_action": "\0", "confirmed": "yes", "reason": "x"}
    assert answers.post(list_page(Client), forged).status_code == 400
    assert Client.objects.get().state == "active"


def test_a_null_character_in_a_query_of_the_api_is_a_bad_request(mesh_http):
    assert refusal(mesh_http.get("/api/v1/models?limit=%00")) == (400, "bad_request")
