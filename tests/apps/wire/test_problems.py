import errno

import httpx
import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.http.request import UnreadablePostError
from rest_framework import exceptions

from boltz_federated import problems
from boltz_protocol import codec
from boltz_protocol.errors import MalformedMessageError, NotNowError, SenderError, ServerFaultError
from boltz_protocol.messages import Problem
from tests.apps.signed_requests import problem, refusal


def answer(error):
    """What a view's exception becomes."""
    response = problems.problem_response(error, {})
    return problem(httpx.Response(response.status_code, headers=dict(response.items()), content=response.content))


@pytest.mark.parametrize("code", sorted(problems.PROBLEMS))
def test_every_row_of_the_table_makes_a_problem_that_clients_can_read(code):
    made = problems.make_problem(code, "what happened")
    assert codec.decode(codec.encode(made), Problem) == made
    assert made.kind == f"urn:boltz-mesh:problem:{code}"
    assert 400 <= made.status < 600
    assert (made.server_time is not None) == (code == "clock_skew")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SenderError("m", code="unknown_model"), "unknown_model"),
        (NotNowError("m", code="round_sealed"), "round_sealed"),
        (MalformedMessageError("m"), "malformed_message"),
        (SenderError("m", code="never_heard_of"), "invalid"),
        (NotNowError("m", code="never_heard_of"), "not_now"),
        (ServerFaultError("m", code="key_missing"), "server_fault"),
        (ZeroDivisionError("m"), "server_fault"),
        (Http404("m"), "not_found"),
        (PermissionDenied("m"), "permission_denied"),
        (SuspiciousOperation("m"), "bad_request"),
        (UnreadablePostError("m"), "bad_request"),
        (OperationalError("m"), "database_unavailable"),
        (InterfaceError("m"), "database_unavailable"),
        (OSError(errno.ENOSPC, "m"), "storage_unavailable"),
        (OSError(errno.ENOENT, "m"), "server_fault"),
        (exceptions.NotAuthenticated(), "authentication_failed"),
        (exceptions.AuthenticationFailed(), "authentication_failed"),
        (exceptions.PermissionDenied(), "permission_denied"),
        (exceptions.NotFound(), "not_found"),
        (exceptions.MethodNotAllowed("GET"), "method_not_allowed"),
        (exceptions.NotAcceptable(), "not_acceptable"),
        (exceptions.UnsupportedMediaType("text/x"), "unsupported_media_type"),
        (exceptions.ParseError(), "malformed_message"),
        (exceptions.ValidationError("m"), "malformed_message"),
        (exceptions.Throttled(3.2), "rate_limited"),
        (exceptions.APIException(), "server_fault"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_exception_has_its_code(error, expected):
    assert answer(error).code == expected


@pytest.mark.parametrize(
    "error",
    [
        ServerFaultError("key 42 at /srv/keys", code="key_missing"),
        ZeroDivisionError("key 42 at /srv/keys"),
        OperationalError("key 42 at /srv/keys"),
        OSError(errno.ENOSPC, "key 42", "/srv/keys"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_nothing_is_told_of_our_own_faults(error):
    assert "42" not in answer(error).detail
    assert "/srv" not in answer(error).detail


def test_the_senders_fault_is_told_in_full():
    assert answer(SenderError("the body has 7 bytes", code="invalid_task")).detail == "the body has 7 bytes"


def test_what_nobody_foresaw_is_logged(caplog):
    answer(ZeroDivisionError("m"))
    assert "unhandled ZeroDivisionError" in caplog.text
    assert caplog.records[-1].exc_info


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/srv/keys"), "storage_unavailable: No space left on device"),
        (OperationalError("key 42"), "database_unavailable: OperationalError"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_away_is_logged_without_what_it_was_asked(error, said, caplog):
    answer(error)
    assert caplog.messages == [said]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (OperationalError("m"), "5"),
        (OSError(errno.ENOSPC, "m"), "30"),
        (exceptions.Throttled(3.2), "4"),
        (SenderError("m", code="rate_limited"), "60"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_who_may_come_again_is_told_when(error, seconds):
    assert problems.problem_response(error, {})["Retry-After"] == seconds


def test_an_address_that_does_not_exist_is_a_problem_below_api_and_a_page_elsewhere(mesh_http):
    assert refusal(mesh_http.get("/api/v1/nothing")) == (404, "not_found")
    page = mesh_http.get("/nothing")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_a_method_that_does_not_exist_is_a_problem(mesh_http):
    response = mesh_http.request("PATCH", "/api/v1/keys")
    assert refusal(response) == (405, "method_not_allowed")
    assert "GET" in response.headers["allow"]


def test_a_representation_that_we_do_not_have_is_a_problem(mesh_http):
    assert refusal(mesh_http.get("/api/v1/keys", headers={"Accept": "text/csv"})) == (406, "not_acceptable")


def test_a_failure_outside_of_views_is_a_problem_below_api_and_a_page_elsewhere(rf):
    assert problems.server_error(rf.get("/api/v1/keys"))["content-type"] == "application/problem+json"
    assert problems.server_error(rf.get("/admin/"))["content-type"].startswith("text/html")
    assert problems.bad_request(rf.get("/admin/"), SuspiciousOperation())["content-type"].startswith("text/html")
