"""Buckets in Redis decide what the pure function decides, in one round trip, and name nobody."""

import contextlib
import random
import threading
import time

import pytest
import redis

from apps.limits import charges
from apps.limits.redis_buckets import TIMEOUT_SECONDS, RedisAwayError, RedisBuckets
from boltz_core.limits.buckets import Charge, Limit, spend
from tests.apps.limited import PATIENT_SECONDS
from tests.apps.limits.round_trips import round_trips
from tests.apps.project.processes import NOWHERE

NOW = 1_700_000_000.0


@pytest.fixture
def buckets(settings):
    shared = RedisBuckets(settings.REDIS_URL, timeout_seconds=PATIENT_SECONDS)
    yield shared
    shared.close()


@pytest.fixture
def server(settings):
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        yield connection


def some(*parts, rate=2.0, burst=4.0, cost=1.0):
    return Charge(charges.bucket("test", *parts), Limit(rate, burst), cost, "test")


@pytest.mark.parametrize("seed", range(4))
def test_redis_and_the_pure_function_decide_alike(buckets, seed):
    draw = random.Random(seed)
    # slow ones: Redis drops a full bucket by real time, and the time of this test is not real
    limits = [(draw.uniform(0.02, 0.2), draw.uniform(1, 20)) for _ in range(3)]
    full_at, now, refused = [0.0] * 3, NOW, 0
    for _ in range(150):
        now += draw.choice([0, 1, 10, 60, -20])
        asked = [some(str(i), rate=r, burst=b, cost=draw.uniform(0.5, 3)) for i, (r, b) in enumerate(limits)]
        verdict, full_at = spend(asked, full_at, now=now)
        found = buckets.spend(asked, now=now)
        assert bool(found.refused) == bool(verdict.refused)
        assert found.wait_seconds == pytest.approx(verdict.wait_seconds, abs=0.002)
        refused += bool(verdict.refused)
    assert 10 < refused < 140


def test_without_a_time_the_clock_is_redis_own(buckets):
    assert [bool(buckets.spend([some(burst=3, rate=0.01)]).refused) for _ in range(4)] == [False, False, False, True]


def test_four_buckets_cost_one_round_trip(buckets, monkeypatch):
    with round_trips(monkeypatch) as made:
        buckets.spend([some(str(number)) for number in range(4)])
    assert made == [b"EVALSHA"]


def test_a_redis_that_was_emptied_and_has_forgotten_the_script_is_asked_all_the_same(buckets, server):
    buckets.spend([some()])
    server.script_flush()
    assert not buckets.spend([some()]).refused


def test_a_bucket_is_gone_from_redis_once_it_is_full(buckets, server):
    slow, fast = some("slow", rate=0.1, burst=10.0), some("fast", rate=1000.0, burst=10.0)
    buckets.spend([slow, fast])
    assert 1_000 < server.pttl(slow.bucket) <= 10_001
    deadline = time.monotonic() + 10
    while server.exists(fast.bucket):
        assert time.monotonic() < deadline
    assert server.exists(slow.bucket)


def test_nothing_in_redis_tells_who_was_counted(buckets, server, settings):
    # else they are full, and gone, after some milliseconds
    settings.BOLTZ_LIMIT_ADDRESS = settings.BOLTZ_LIMIT_CLIENT = Limit(0.1, 10.0)
    asked = charges.of_client("client-of-example-bank", "192.0.2.7") + charges.of_log_in("olga", "192.0.2.7")
    buckets.spend(asked)
    stored = server.keys(f"{settings.BOLTZ_REDIS_PREFIX}*")
    assert len(stored) == len(asked) == 4
    said = b" ".join([*stored, *server.mget(stored)])
    assert not [word for word in (b"client", b"192", b"olga", b"bank") if word in said]


def test_many_at_once_get_the_burst_and_no_more(buckets):
    passed, barrier = [], threading.Barrier(8)

    def ask():
        barrier.wait()
        passed.extend(not buckets.spend([some(rate=0.01, burst=20)]).refused for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed.count(True) == 20


def test_a_redis_that_is_not_there_is_said_without_its_address():
    with pytest.raises(RedisAwayError, match=r"^ConnectionError$"):
        RedisBuckets(f"redis://:hidden@{NOWHERE}/0", timeout_seconds=PATIENT_SECONDS).spend([some()])


def test_a_redis_that_hangs_holds_up_nobody_for_long(own_redis, hanging):
    # twice: with a connection that stands, and with one that has to be made
    for warm in (True, False):
        shared = RedisBuckets(own_redis.url, timeout_seconds=TIMEOUT_SECONDS)
        while warm:
            with contextlib.suppress(RedisAwayError):
                shared.spend([some()])
                break
        with hanging():
            began = time.monotonic()
            with pytest.raises(RedisAwayError, match="TimeoutError"):
                shared.spend([some()])
            took = time.monotonic() - began
        shared.close()
        # one wait, where the library by itself would try for a minute; the rest is for a busy machine
        assert TIMEOUT_SECONDS <= took < 10 * TIMEOUT_SECONDS


def test_a_redis_that_is_full_counts_as_away(own_redis):
    shared = RedisBuckets(own_redis.url, timeout_seconds=PATIENT_SECONDS)
    with redis.Redis.from_url(own_redis.url) as server:
        server.config_set("maxmemory", "1")
        try:
            with pytest.raises(RedisAwayError):
                shared.spend([some()])
            assert server.ping()
        finally:
            server.config_set("maxmemory", "0")
    shared.close()
