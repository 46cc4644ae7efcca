"""One digest for each plan, however a round is cut, on whatever processor."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from tests.unit.core.made_rows import blas_kernels, other_processors, printed_under
from tests.unit.core.planned_rows import (
    FEW_PARAMETERS,
    SEED,
    carried_out,
    made_updates,
    measured,
    merged,
    plan_digest,
    plans,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def rows():
    return made_updates()


@pytest.fixture(scope="module")
def digests(rows):
    return [plan_digest(rows, rule, before) for rule, before in plans()]


@pytest.mark.parametrize("max_shards", [2, 7])
def test_any_number_of_shards_gives_every_plan_the_same_bits(rows, digests, max_shards):
    assert [plan_digest(rows, rule, before, max_shards=max_shards) for rule, before in plans()] == digests


@pytest.mark.skipif(blas_kernels() is None, reason="numpy here has another BLAS than OpenBLAS")
@pytest.mark.parametrize("processor", other_processors(), ids=str)
def test_another_processors_kernels_give_every_plan_the_same_bits(processor):
    printed = printed_under(processor, "tests.unit.core.planned_rows")
    rows = made_updates(parameters=FEW_PARAMETERS)
    assert printed == [plan_digest(rows, rule, before) for rule, before in plans()]


def test_every_plan_has_a_digest_of_its_own(digests):
    assert len(set(digests)) == len(digests)


def test_parts_of_a_geometry_give_the_same_bits_in_any_order(rows):
    decision, _ = carried_out(rows, rule="krum")
    parts = measured(rows, decision.members, max_shards=4)
    assert {merged(order).digest for order in permutations(parts)} == {decision.planned.geometry_sha256}


def test_members_in_another_order_have_the_same_distances_to_the_bit(rows):
    decision, _ = carried_out(rows, rule="krum")
    order = np.roll(np.arange(len(rows)), 4)
    shuffled = [decision.members[row] for row in order]
    here, there = (merged(measured(rows, members)).gram for members in (decision.members, shuffled))
    assert np.array_equal(there[:-1, :-1], here[np.ix_(order, order)])


def test_buckets_follow_from_the_seed(rows):
    first, other = (
        carried_out(rows, rule="median", before=("bucketing",), parameters={"seed": seed}) for seed in (SEED, "00" * 32)
    )
    again = carried_out(rows, rule="median", before=("bucketing",), parameters={"seed": SEED})
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])
