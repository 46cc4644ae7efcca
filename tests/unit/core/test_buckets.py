"""Buckets: so much at once, so much a second, all charges or none, and a clock that jumps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.limits.buckets import Charge, Limit, Verdict, spend

NOW = 1_700_000_000.0
LIMIT = Limit(per_second=2.0, burst=4.0)


class OneBucket:
    """A bucket that keeps its number."""

    def __init__(self, limit=LIMIT):
        self.limit, self.full_at = limit, 0.0

    def ask(self, *, at, cost=1.0):
        verdict, (self.full_at,) = spend([Charge("one", self.limit, cost)], [self.full_at], now=NOW + at)
        return verdict


def passed(bucket, *, times, at):
    return sum(not bucket.ask(at=at).refused for _ in range(times))


def test_a_full_bucket_gives_its_burst_at_once_and_no_more():
    assert passed(OneBucket(), times=10, at=0) == 4


def test_what_was_taken_comes_back_with_time():
    bucket = OneBucket()
    passed(bucket, times=4, at=0)
    assert passed(bucket, times=10, at=1.5) == 3


def test_a_bucket_is_never_more_than_full():
    bucket = OneBucket()
    passed(bucket, times=4, at=0)
    assert passed(bucket, times=10, at=3600) == 4


def test_a_refusal_names_the_time_after_which_there_is_room():
    bucket = OneBucket()
    passed(bucket, times=4, at=0)
    wait = bucket.ask(at=0).wait_seconds
    assert wait == pytest.approx(0.5, abs=1e-6)
    assert bucket.ask(at=wait - 0.01).refused
    assert not bucket.ask(at=wait).refused


def test_asking_while_refused_does_not_lengthen_the_wait():
    bucket = OneBucket()
    passed(bucket, times=1000, at=0)
    assert bucket.ask(at=0).wait_seconds == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(("wait", "seconds"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2), (30.0, 30)])
def test_retry_after_is_a_whole_number_of_seconds_that_suffices(wait, seconds):
    assert Verdict(wait).retry_after_seconds == seconds


def test_a_cost_beyond_the_bucket_waits_for_a_full_one_and_not_for_ever():
    bucket = OneBucket()
    assert not bucket.ask(at=0, cost=1000).refused
    assert bucket.ask(at=0, cost=1000).wait_seconds == pytest.approx(2.0, abs=1e-6)
    assert not bucket.ask(at=2.0, cost=1000).refused


def test_all_are_charged_or_none():
    free, tight = Charge("free", LIMIT), Charge("tight", Limit(per_second=1.0, burst=1.0))
    _, (_, used_up) = spend([free, tight], [0.0, 0.0], now=NOW)
    verdict, after = spend([free, tight], [NOW, used_up], now=NOW)
    assert verdict.refused == tight
    assert list(after) == [NOW, used_up]


def test_of_two_that_refuse_the_longer_wait_is_named():
    short, long_ = (Charge(name, Limit(rate, 1.0)) for name, rate in (("short", 10.0), ("long", 0.1)))
    full_at = [NOW + 0.1, NOW + 10.0]
    verdict, _ = spend([short, long_], full_at, now=NOW)
    assert (verdict.refused, verdict.wait_seconds) == (long_, pytest.approx(10.0, abs=1e-6))


def test_a_clock_that_was_set_back_leaves_a_bucket_empty_and_not_shut():
    bucket = OneBucket()
    passed(bucket, times=4, at=0)
    assert bucket.ask(at=-86_400).wait_seconds <= 0.5 + 1e-6


def test_nothing_charged_is_nothing_refused():
    assert spend([], [], now=NOW) == (Verdict(), [])


@given(rate=st.floats(0.01, 1e5), burst=st.floats(1, 1e5), steps=st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_no_more_passes_than_the_burst_and_what_has_come_back(rate, burst, steps):
    bucket, at, taken = OneBucket(Limit(rate, burst)), 0.0, 0
    for step in steps:
        at += step
        taken += passed(bucket, times=3, at=at)
        assert taken <= burst + rate * at + 1e-3 * rate + 1e-3
