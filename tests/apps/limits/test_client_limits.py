"""Limits of clients that are known: by client, by address and by round; and what happens while Redis is away."""

import time
from collections.abc import Iterator

import httpx
import pytest

from apps.clients import services as clients
from apps.clients.models import Client
from apps.limits import charges
from apps.limits.limiter import RateLimitedError, limiter
from apps.rounds.models import Update
from boltz_core.limits.buckets import Limit
from tests.apps.hostile_envelopes import ENVELOPE_TYPE, seal, send
from tests.apps.limits.round_trips import round_trips
from tests.apps.places import alpha, layout, model, place, vector_of
from tests.apps.project.processes import NOWHERE
from tests.apps.raw_wsgi import Unreadable, call
from tests.apps.signed_requests import BASE_URL, ME, SignedClient, Signer, enrolled, problem, refusal
from tests.apps.unchanged import nothing_changes

__all__ = ["alpha", "layout", "model", "place"]

LIMITED = (429, "rate_limited")
SLOW = 0.001


@pytest.fixture
def from_address(wsgi_application) -> Iterator[object]:
    """The mesh, asked from another address of this machine."""
    opened = []

    def at(address):
        transport = httpx.WSGITransport(app=wsgi_application, remote_addr=address)
        opened.append(httpx.Client(transport=transport, base_url=BASE_URL))
        return opened[-1]

    yield at
    for http in opened:
        http.close()


def at(client, http):
    """The same client elsewhere."""
    return SignedClient(http, client.signer)


def statuses(client, times):
    return [client.get(ME).status_code for _ in range(times)]


# --- by client --------------------------------------------------------------------------------------------------------


def test_a_client_that_asks_too_often_is_told_when_to_come_back(alpha, settings):
    settings.BOLTZ_LIMIT_CLIENT = Limit(SLOW, 3)
    assert statuses(alpha, 4) == [200, 200, 200, 429]
    answer = alpha.get(ME)
    assert refusal(answer) == LIMITED
    assert 990 < int(answer.headers["retry-after"]) <= 1000
    assert problem(answer).detail.startswith("this client sends too many requests; wait ")


def test_after_the_wait_it_is_answered_again(alpha, settings):
    settings.BOLTZ_LIMIT_CLIENT = Limit(20.0, 1)
    assert 429 in statuses(alpha, 5)
    deadline = time.monotonic() + 10
    while alpha.get(ME).status_code != 200:
        assert time.monotonic() < deadline


def test_one_client_does_not_use_up_the_next_ones_bucket(alpha, settings):
    beta = enrolled(alpha.http, "beta")
    settings.BOLTZ_LIMIT_CLIENT = Limit(SLOW, 2)
    assert statuses(alpha, 3)[-1] == 429
    assert statuses(beta, 2) == [200, 200]


def test_a_client_has_one_bucket_wherever_it_asks_from(alpha, from_address, settings):
    settings.BOLTZ_LIMIT_CLIENT = Limit(SLOW, 2)
    assert statuses(at(alpha, from_address("127.0.0.2")), 2) == [200, 200]
    assert statuses(alpha, 1) == [429]


def test_a_flood_is_refused_without_a_look_at_database_or_redis(
    alpha, settings, django_assert_num_queries, monkeypatch
):
    settings.BOLTZ_LIMIT_CLIENT = Limit(SLOW, 1)
    statuses(alpha, 2)
    with django_assert_num_queries(0), round_trips(monkeypatch) as made:
        assert statuses(alpha, 10) == [429] * 10
    assert made == []


def test_a_stranger_elsewhere_cannot_tell_that_a_client_is_limited(alpha, from_address, settings):
    settings.BOLTZ_LIMIT_CLIENT = Limit(SLOW, 1)
    assert statuses(alpha, 2)[-1] == 429
    stranger = SignedClient(from_address("127.0.0.2"), Signer())
    assert refusal(stranger.get(ME, kid=alpha.signer.kid)) == (401, "authentication_failed")


def test_nobody_can_use_up_the_bucket_of_a_client_by_naming_its_key(alpha, from_address, settings):
    settings.BOLTZ_LIMIT_CLIENT = Limit(SLOW, 2)
    stranger = SignedClient(from_address("127.0.0.2"), Signer())
    for _ in range(5):
        stranger.get(ME, kid=alpha.signer.kid)
    assert statuses(alpha, 2) == [200, 200]


def test_a_limit_that_is_off_does_not_exist(alpha, settings):
    settings.BOLTZ_LIMIT_CLIENT = settings.BOLTZ_LIMIT_ADDRESS = None
    assert set(statuses(alpha, 20)) == {200}


# --- by address -------------------------------------------------------------------------------------------------------


def test_an_address_that_asks_too_often_has_to_wait_whoever_asks(alpha, from_address, settings):
    beta = enrolled(alpha.http, "beta")
    settings.BOLTZ_LIMIT_ADDRESS = Limit(SLOW, 2)
    assert statuses(alpha, 3) == [200, 200, 429]
    assert statuses(beta, 1) == [429]
    assert statuses(at(beta, from_address("127.0.0.2")), 1) == [200]


def test_a_thousand_clients_that_ask_at_once_from_one_address_are_not_limited():
    for number in range(1000):
        spent = charges.of_client(f"client-{number}", "192.0.2.1")
        limiter().charge_client(spent, address="192.0.2.1", kid=str(number))


# --- by round ---------------------------------------------------------------------------------------------------------


def test_who_joins_and_sends_too_often_in_a_round_has_to_wait(place, settings):
    # one of them for having joined
    settings.BOLTZ_QUOTA_REQUESTS = Limit(SLOW, 4)
    body = seal(place, vector_of(place.layout))
    assert [send(place, body).status_code for _ in range(4)] == [202, 202, 202, 429]
    assert place.client.get(place.path).status_code == 200
    assert Update.objects.count() == 1


def test_a_quota_is_for_one_client_and_one_round(place, settings):
    settings.BOLTZ_QUOTA_REQUESTS = Limit(SLOW, 1)
    beta = enrolled(place.client.http, "beta")
    found = [
        client.post(f"/api/v1/models/boltz-core/rounds/{number}/participation", {}).status_code
        for client, number in ((place.client, 2), (place.client, 2), (place.client, 3), (beta, 2))
    ]
    assert found == [404, 429, 404, 404]


def test_bytes_of_a_round_are_counted_before_one_is_read(place, wsgi_application, settings):
    body = seal(place, vector_of(place.layout))
    settings.BOLTZ_QUOTA_BYTES = Limit(SLOW, 1.5 * len(body))
    assert send(place, body).status_code == 202
    headers = place.client.signer.headers("PUT", place.path, body=body, content_type=ENVELOPE_TYPE)
    answer = call(wsgi_application, "PUT", place.path, headers, Unreadable(), length=len(body))
    assert refusal(answer) == LIMITED
    assert "too many bytes for this round" in problem(answer).detail


def test_an_upload_that_is_refused_leaves_its_nonce_and_the_round_as_they_were(place, settings):
    settings.BOLTZ_QUOTA_REQUESTS = Limit(SLOW, 1)
    place.client.post("/api/v1/models/boltz-core/rounds/1/participation", {})
    with nothing_changes():
        assert refusal(send(place, seal(place, vector_of(place.layout)))) == LIMITED


def test_rounds_that_do_not_exist_fill_no_more_than_so_many_buckets():
    spent = {charges.of_round("c", model="m", number=str(n), body_bytes=1)[0].bucket for n in range(5000)}
    assert len(spent) == charges.QUOTA_SLOTS


# --- one round trip ---------------------------------------------------------------------------------------------------


def test_no_request_costs_more_than_one_round_trip(place, monkeypatch):
    body = seal(place, vector_of(place.layout))
    requests = {
        "a client's": lambda: place.client.get(ME),
        "a client's upload": lambda: send(place, body),
        "an open one": lambda: place.client.http.get("/api/v1/keys"),
        "one that is not signed": lambda: place.client.http.get(ME),
        "one of a stranger": lambda: SignedClient(place.client.http, Signer()).get(ME),
    }
    found = {}
    for name, ask in requests.items():
        with round_trips(monkeypatch) as made:
            ask()
        found[name] = made
    assert found == {name: [b"EVALSHA"] for name in requests}


# --- Redis away -------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_redis(settings):
    settings.REDIS_URL = f"redis://{NOWHERE}/0"
    limiter.cache_clear()


def test_without_redis_a_known_client_is_let_through_and_the_alarm_is_raised(alpha, no_redis, settings, caplog):
    settings.BOLTZ_LIMIT_CLIENT = Limit(SLOW, 1)
    assert statuses(alpha, 10) == [200] * 10
    assert limiter().circuit.is_open
    assert caplog.text.count("rate limits fail open: Redis does not answer (ConnectionError)") == 1


def test_without_redis_each_process_limits_strangers_by_itself(alpha, from_address, no_redis, settings):
    settings.BOLTZ_LIMIT_REFUSED = Limit(SLOW, 3)
    stranger = SignedClient(from_address("127.0.0.2"), Signer())
    found = statuses(stranger, 8)
    assert found[:3] == [401] * 3
    assert found[4:] == [429] * 4
    assert statuses(alpha, 1) == [200]


def look_until_it_is_back():
    """What the thread does every two seconds."""
    while limiter().circuit.is_open:
        limiter().circuit._look()


def test_without_redis_nobody_waits_for_it(alpha, own_redis, hanging, settings):
    settings.REDIS_URL = own_redis.url
    limiter.cache_clear()
    with hanging():
        began = time.monotonic()
        assert statuses(alpha, 20) == [200] * 20
        # three time-outs of 50 ms; the library's own are five seconds each
        assert time.monotonic() - began < 5
        assert limiter().circuit.is_open
    look_until_it_is_back()


def test_limits_hold_again_once_redis_is_back(alpha, own_redis, hanging, settings):
    settings.REDIS_URL = own_redis.url
    settings.BOLTZ_LIMIT_CLIENT = Limit(SLOW, 2)
    limiter.cache_clear()
    with hanging():
        assert statuses(alpha, 5) == [200] * 5
    look_until_it_is_back()
    assert 429 in statuses(alpha, 8)


# --- who is counted by other means ------------------------------------------------------------------------------------


def test_a_client_that_is_suspended_and_goes_on_asking_is_limited_too(alpha, settings):
    settings.BOLTZ_LIMIT_REFUSED = Limit(SLOW, 2)
    clients.suspend(Client.objects.get(), actor="system", reason="test")
    path = "/api/v1/models"
    found = [alpha.get(path).status_code for _ in range(5)]
    assert found == [403, 403, 403, 429, 429]


def test_the_limiter_says_what_it_refused(settings):
    settings.BOLTZ_LIMIT_CLIENT = Limit(SLOW, 1)
    spent = charges.of_client("c", "192.0.2.1")
    limiter().charge_client(spent, address="192.0.2.1", kid="k")
    with pytest.raises(RateLimitedError, match="this client sends too many requests; wait 1000 s") as caught:
        limiter().charge_client(spent, address="192.0.2.1", kid="k")
    assert (caught.value.code, caught.value.wait) == ("rate_limited", 1000)
