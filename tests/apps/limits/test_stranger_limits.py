"""Limits of those who are not known: by address, before anything is looked up, and without harm to others."""

import httpx
import pytest

from apps.audit.models import LogEntry
from boltz_core.limits.buckets import Limit
from boltz_federated import request_limits
from tests.apps.limits.round_trips import round_trips
from tests.apps.signed_requests import BASE_URL, CLIENTS, ME, SignedClient, Signer, enrolled, enrolment, refusal

FAILED, LIMITED = (401, "authentication_failed"), (429, "rate_limited")
SLOW = 0.001
HOSTILE = "127.0.0.66"


@pytest.fixture
def hostile(mesh_http, wsgi_application):
    """The mesh, asked from an address that means no good."""
    transport = httpx.WSGITransport(app=wsgi_application, remote_addr=HOSTILE)
    with httpx.Client(transport=transport, base_url=BASE_URL) as http:
        yield http


@pytest.fixture
def stranger(hostile):
    return SignedClient(hostile, Signer())


@pytest.fixture
def alpha(mesh_http):
    return enrolled(mesh_http, "alpha")


@pytest.fixture
def few(settings):
    """Two refusals, and the third is one too many."""
    settings.BOLTZ_LIMIT_REFUSED = Limit(SLOW, 2)


def flood(client, times=6, **changes):
    return [client.get(ME, **changes).status_code for _ in range(times)]


def test_an_address_with_many_refused_signatures_has_to_wait(few, alpha, stranger):
    assert flood(stranger) == [401, 401, 401, 429, 429, 429]
    answer = stranger.get(ME)
    assert refusal(answer) == LIMITED
    assert 900 < int(answer.headers["retry-after"]) <= 1000


@pytest.mark.parametrize("how", ["unsigned", "unknown", "replayed", "skewed", "enrolment"])
def test_whatever_is_wrong_with_a_signature_is_counted(few, alpha, hostile, stranger, how):
    replayed = alpha.signer.headers("GET", ME)
    alpha.http.get(ME, headers=replayed)
    asks = {
        "unsigned": lambda: hostile.get(ME),
        "unknown": lambda: stranger.get(ME),
        "replayed": lambda: hostile.get(ME, headers=replayed),
        "skewed": lambda: SignedClient(hostile, alpha.signer).get(ME, created=1),
        "enrolment": lambda: stranger.post(CLIENTS, enrolment(Signer(), "beta")),
    }
    found = [asks[how]().status_code for _ in range(5)]
    assert found == [401, 401, 401, 429, 429]


def test_a_flood_costs_neither_database_nor_redis(few, alpha, stranger, django_assert_num_queries, monkeypatch):
    flood(stranger)
    with django_assert_num_queries(0), round_trips(monkeypatch) as made:
        assert flood(stranger, 20) == [429] * 20
    assert made == []


def test_a_flood_from_one_address_does_not_stop_others(few, alpha, stranger, mesh_http):
    flood(stranger)
    assert alpha.get(ME).status_code == 200
    assert enrolled(mesh_http, "beta").get(ME).status_code == 200


def test_a_known_client_behind_the_address_of_a_flood_is_answered(few, alpha, hostile, stranger):
    behind = SignedClient(hostile, alpha.signer)
    assert behind.get(ME).status_code == 200
    assert flood(stranger)[-1] == 429
    assert behind.get(ME).status_code == 200


def test_whoever_is_new_behind_the_address_of_a_flood_has_to_wait(few, alpha, hostile, stranger):
    flood(stranger)
    assert refusal(SignedClient(hostile, alpha.signer).get(ME)) == LIMITED


def test_to_name_the_key_of_a_known_client_helps_a_stranger_once(few, alpha, hostile, stranger):
    assert SignedClient(hostile, alpha.signer).get(ME).status_code == 200
    flood(stranger)
    assert refusal(stranger.get(ME, kid=alpha.signer.kid)) == FAILED
    assert refusal(stranger.get(ME, kid=alpha.signer.kid)) == LIMITED


def test_requests_that_are_not_signed_and_need_not_be_count_by_address(settings, alpha, hostile):
    settings.BOLTZ_LIMIT_ADDRESS = Limit(SLOW, 3)
    found = [hostile.get("/api/v1/keys").status_code for _ in range(6)]
    assert found[:3] == [200] * 3
    assert found[-2:] == [429] * 2
    assert alpha.http.get("/api/v1/keys").status_code == 200


def test_a_token_cannot_be_guessed_at_length(few, settings, hostile):
    settings.BOLTZ_ENROLMENT = "token"
    found = []
    for number in range(5):
        client = SignedClient(hostile, Signer())
        found.append(
            client.post(CLIENTS, enrolment(client.signer, f"guess-{number}", token="no such token")).status_code
        )
    assert found == [403, 403, 403, 429, 429]


def test_a_limit_that_is_reached_is_told_in_the_log_once_and_names_nobody(few, alpha, stranger, caplog):
    flood(stranger, 20)
    told = [record.message for record in caplog.records if record.name == "apps.limits.limiter"]
    assert told == ["a limit is reached: too many requests from this address were refused"]
    assert not [record for record in caplog.records if getattr(record, "status_code", 0) == 429]


def test_the_security_log_holds_the_refusals_and_not_the_flood(few, alpha, stranger):
    flood(stranger, 50)
    assert LogEntry.objects.filter(type="authentication.failed").count() in {1, 2}  # the minute may have turned


# --- open pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["/readyz", "/metrics"])
def test_an_open_page_is_not_for_a_flood(hostile, mesh_http, monkeypatch, page):
    monkeypatch.setitem(request_limits.PAGES, page, Limit(SLOW, 2))
    first, *_, last = [hostile.get(page) for _ in range(3)]
    assert first.status_code != 429
    assert refusal(last) == LIMITED
    assert last.headers["retry-after"] == "1000"
    assert mesh_http.get(page).status_code != 429


def test_open_pages_are_counted_without_redis(hostile, monkeypatch):
    with round_trips(monkeypatch) as made:
        hostile.get("/readyz")
        hostile.get("/healthz")
    assert made == []


def test_whether_a_process_lives_may_always_be_asked(few, settings, hostile, stranger):
    settings.BOLTZ_LIMIT_ADDRESS = Limit(SLOW, 1)
    flood(stranger)
    assert [hostile.get("/healthz").status_code for _ in range(50)] == [200] * 50
