import tracemalloc
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.aggregation.combine import combine_range
from boltz_core.aggregation.decision import Member, decide
from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.exact_sum import ExactSum
from boltz_core.aggregation.integer_weights import MAX_WEIGHT, halves
from boltz_core.aggregation.shards import plan_shards
from boltz_core.ingest import segments
from boltz_core.ingest.segments import SEGMENT_PARAMETERS, SegmentError, SegmentOpener, SegmentSealer
from tests.unit.core.made_rows import (
    PARAMETERS,
    ROWS,
    blas_kernels,
    combine,
    combine_in_integers,
    digest,
    made_members,
    made_numbers,
    made_rows,
    next_weights_digest,
    other_processors,
    policy,
    printed_under,
    whole,
)

ROOT = Path(__file__).resolve().parents[3]
KEY = bytes(32)


@pytest.fixture(scope="module")
def rows():
    return made_rows()


@pytest.fixture(scope="module")
def expected(rows):
    """The digest of what Python's integers give."""
    return digest(combine_in_integers(rows, decide(made_members(ROWS), policy=policy())))


@pytest.mark.parametrize("max_shards", [1, 2, 7])
def test_any_number_of_shards_gives_the_bits_of_integer_arithmetic(rows, expected, max_shards):
    assert len(plan_shards(PARAMETERS, max_shards=max_shards, min_parameters=1)) == max_shards
    assert digest(combine(rows, made_members(ROWS), max_shards=max_shards)) == expected


@pytest.mark.parametrize("rows_per_block", [1, 5, 20, 21, 2**8, 2**11])
def test_any_height_of_the_block_gives_the_same_bits(rows, expected, rows_per_block):
    assert digest(combine(rows, made_members(ROWS), rows_per_block=rows_per_block)) == expected


def test_a_second_time_gives_the_same_bits(rows, expected):
    assert [digest(combine(rows, made_members(ROWS))) for _ in range(2)] == [expected] * 2


def test_members_in_any_order_give_the_same_bits(rows, expected):
    members = made_members(ROWS)
    for order in (members[::-1], members[9:] + members[:9], sorted(members, key=lambda member: member.examples)):
        assert digest(combine(rows, order)) == expected


def test_rows_in_any_order_give_the_same_bits():
    # Here the rows themselves change places in the block: the names are dealt out anew, with their rows and examples.
    rows = made_rows(4, 300)
    examples = [7, 11, 400, 13]
    digests = set()
    for order in permutations(range(4)):
        members = [Member(f"u{place:04}", 0.0, examples[row]) for place, row in enumerate(order)]
        digests.add(digest(combine(rows[list(order)], members, rows_per_block=3)))
    assert len(digests) == 1


@pytest.mark.skipif(blas_kernels() is None, reason="numpy here has another BLAS than OpenBLAS")
@pytest.mark.parametrize("processor", other_processors(), ids=str)
def test_another_processors_kernels_give_the_same_bits(rows, expected, processor):
    printed = printed_under(processor, "tests.unit.core.made_rows")
    assert printed == [expected, next_weights_digest(combine(rows, made_members(ROWS)))]


@given(data=st.data(), count=st.integers(1, 30), exponent=st.integers(-96, 96))
def test_the_mean_is_that_of_integer_arithmetic_for_any_rows(data, count, exponent):
    bound = 1.5 * 2.0**exponent
    shares = data.draw(st.lists(st.lists(st.floats(-1, 1), min_size=2, max_size=2), min_size=count, max_size=count))
    rows = (np.array(shares) * bound).astype(np.float32)
    examples = data.draw(st.lists(st.integers(1, 10**7), min_size=count, max_size=count))
    members = [Member(f"u{i:04}", 0.0, n) for i, n in enumerate(examples)]
    decision = decide(members, policy=policy(max_norm=bound))
    assert digest(combine(rows, members, max_norm=bound)) == digest(combine_in_integers(rows, decision))


def test_more_rows_than_one_float_sum_holds_stay_exact():
    rows = np.tile(made_rows(1, 5, bound=1.0), (4500, 1))
    members = made_members(4500)
    decision = decide(members, policy=policy(max_norm=1.0))
    want = digest(combine_in_integers(rows, decision))
    assert {digest(combine(rows, members, max_norm=1.0, rows_per_block=n)) for n in (16, 2**11, 4500)} == {want}


def test_the_mean_is_close_to_the_plain_weighted_mean(rows):
    weights = [min(member.examples, 5000) for member in made_members(ROWS)]
    plain = np.average(rows.astype(np.float64), axis=0, weights=weights)
    error = np.linalg.norm(combine(rows, made_members(ROWS)) - plain) / np.linalg.norm(plain)
    assert error < 2e-6


def test_equal_rows_give_the_row():
    row = made_rows(1, 100)
    mean = combine(np.repeat(row, 9, axis=0), made_members(9))
    assert np.abs(mean - row[0]).max() <= 12 * 2.0**-32


@pytest.mark.parametrize("bound", [1.0, 10.0, 0.3])
def test_one_hot_canaries_are_counted_exactly_once(bound):
    clients, parameters = 20, 25
    canaries = np.zeros((clients, parameters), dtype=np.float32)
    np.fill_diagonal(canaries, bound)
    decision = decide([Member(f"u{i:04}", bound, 64) for i in range(clients)], policy=policy(max_norm=bound))
    integers = np.empty(canaries.shape)
    decision.grid.to_grid(canaries.copy(), integers)
    unit = MAX_WEIGHT * round(float(np.float32(bound)) / decision.grid.gamma)
    exact = ExactSum(parameters)
    exact.add(integers, *halves(decision.weights))
    hi, lo = exact.totals()
    assert [(h * 1024 + low) / unit for h, low in zip(hi.tolist(), lo.tolist(), strict=True)] == [1] * 20 + [0] * 5
    assert set(combine(canaries, list(decision.members), max_norm=bound).tolist()) == {
        0.0,
        unit * decision.grid.gamma / (clients * MAX_WEIGHT),
    }


def test_a_staged_number_beyond_the_bound_stops_the_combination():
    rows = np.array([[0.5, 0.5], [0.5, 13.0]], dtype=np.float32)
    with pytest.raises(AggregationError, match="beyond the bound"):
        combine(rows, made_members(2))


@pytest.fixture
def sealed_rows():
    """Three staged updates of two segments and a bit, as sealed segments."""
    rows = made_numbers("sealed", 3 * (2 * SEGMENT_PARAMETERS + 50)).reshape(3, -1)
    out = bytearray(segments.SEALED_SEGMENT_BYTES)
    sealed = []
    for i, row in enumerate(rows):
        sealer = SegmentSealer(KEY, update_id=f"u{i:04}", attempt=1, layout_digest="d")
        cuts = [row[start : start + SEGMENT_PARAMETERS] for start in range(0, len(row), SEGMENT_PARAMETERS)]
        sealed.append([bytes(out[: sealer.seal_into(index, cut, out)]) for index, cut in enumerate(cuts)])
    return rows, sealed


def combine_sealed(sealed, parameters):
    decision = decide(made_members(3), policy=policy(max_norm=1000.0))
    openers = [SegmentOpener(KEY, update_id=f"u{i:04}", attempt=1, layout_digest="d") for i in range(3)]
    (span,) = plan_shards(parameters)
    return whole(
        combine_range(span, decision, lambda i, segment, out: openers[i].open_into(segment, sealed[i][segment], out))
    )


def test_sealed_segments_combine_to_the_same_bits_as_rows_in_memory(sealed_rows):
    rows, sealed = sealed_rows
    assert digest(combine_sealed(sealed, rows.shape[1])) == digest(combine(rows, made_members(3), max_norm=1000.0))


def flip_a_bit(sealed):
    sealed[1][0] = sealed[1][0][:-1] + bytes([sealed[1][0][-1] ^ 1])


def cut_a_segment(sealed):
    sealed[2][2] = sealed[2][2][:-5]


def reorder_segments(sealed):
    sealed[0][:2] = sealed[0][1::-1]


def swap_updates(sealed):
    sealed[:2] = sealed[1::-1]


@pytest.mark.parametrize("damage", [flip_a_bit, cut_a_segment, reorder_segments, swap_updates])
def test_damaged_segments_stop_the_combination(sealed_rows, damage):
    rows, sealed = sealed_rows
    damage(sealed)
    with pytest.raises(SegmentError, match="does not open"):
        combine_sealed(sealed, rows.shape[1])


def test_memory_does_not_grow_with_the_number_of_members():
    def peak(members):
        decision = decide(made_members(members), policy=policy())
        (span,) = plan_shards(4 * SEGMENT_PARAMETERS)
        tracemalloc.start()
        try:
            whole(combine_range(span, decision, lambda _member, _segment, out: out.fill(0)))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(600) < peak(20) + 100_000
