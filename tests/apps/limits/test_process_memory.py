"""What a process keeps by itself is bounded, whoever asks."""

import pytest

from apps.limits.local_buckets import LocalBuckets
from apps.limits.memory import Memory
from boltz_core.limits.buckets import Charge, Limit


def charge(name):
    return [Charge(name, Limit(1.0, 2.0))]


def test_a_process_counts_by_itself():
    buckets = LocalBuckets()
    assert [bool(buckets.spend(charge("a"), now=5.0).refused) for _ in range(3)] == [False, False, True]
    assert not buckets.spend(charge("b"), now=5.0).refused
    assert not buckets.spend(charge("a"), now=6.0).refused


def test_a_flood_from_many_addresses_does_not_grow_the_process():
    buckets = LocalBuckets(most=100)
    for number in range(1000):
        buckets.spend(charge(str(number)), now=5.0)
    assert len(buckets._full_at) == 100


def test_a_bucket_in_use_outlives_those_that_are_not():
    buckets = LocalBuckets(most=10)
    for number in range(100):
        verdict = buckets.spend(charge("busy"), now=5.0)
        buckets.spend(charge(str(number)), now=5.0)
    assert verdict.refused


def test_what_is_remembered_ends():
    memory = Memory()
    memory.keep("a", until=10.0)
    assert memory.left("a", now=7.5) == pytest.approx(2.5)
    assert memory.left("a", now=10.0) == 0.0
    assert memory.left("b", now=0.0) == 0.0


def test_what_is_forgotten_is_gone():
    memory = Memory()
    memory.keep("a", until=10.0)
    memory.forget("a")
    memory.forget("never there")
    assert memory.left("a", now=0.0) == 0.0


def test_past_the_bound_the_oldest_is_forgotten():
    memory = Memory(most=3)
    for number in range(5):
        memory.keep(number, until=10.0)
    assert [memory.left(number, now=0.0) for number in range(5)] == [0, 0, 10, 10, 10]
