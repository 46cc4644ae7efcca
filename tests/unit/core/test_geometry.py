import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boltz_core.aggregation.decision import Member
from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.exact_gram import GramBlock
from boltz_core.aggregation.geometry import Geometry, GeometryShape, PartialGeometry, measure_range
from boltz_core.aggregation.held_rows import settled_norm
from boltz_core.aggregation.shards import plan_shards
from boltz_core.ingest.segments import SEGMENT_PARAMETERS
from tests.unit.core.made_rows import made_numbers
from tests.unit.core.planned_rows import measured, merged


def geometry_of(rows, references=()):
    """The geometry of float32 rows, with reference vectors."""
    everything = [*rows, *references]
    shape = GeometryShape.of(map(settled_norm, rows), references=map(settled_norm, references))

    def open_row(row, segment, out):
        start = segment * SEGMENT_PARAMETERS
        out[:] = everything[row][start : start + len(out)]

    (span,) = plan_shards(len(rows[0]))
    return Geometry.of(measure_range(span, shape, open_row), parameters=len(rows[0]))


def squared_distances(rows):
    wide = np.asarray(rows, dtype=np.float64)
    return ((wide[:, None] - wide) ** 2).sum(axis=2)


def made(rows, parameters):
    return made_numbers("geometry", rows * parameters).reshape(rows, parameters)


def test_distances_norms_and_dots_are_those_of_the_rows():
    rows = made(7, SEGMENT_PARAMETERS + 9000)
    geometry, wide = geometry_of(rows), rows.astype(np.float64)
    assert np.allclose(geometry.distances_squared, squared_distances(rows), rtol=1e-7)
    assert np.allclose(geometry.norms, np.linalg.norm(wide, axis=1), rtol=1e-7)
    assert np.allclose(geometry.dots, wide @ wide.T, rtol=1e-6, atol=1e-2)


@settings(deadline=None)
@given(
    rows=st.integers(1, 6).flatmap(
        lambda n: st.lists(st.lists(st.integers(-1000, 1000), min_size=3, max_size=3), min_size=n, max_size=n)
    )
)
def test_distances_of_small_whole_numbers_are_exact(rows):
    assert np.allclose(geometry_of(np.array(rows, np.float32)).distances_squared, squared_distances(rows), rtol=1e-9)


def test_an_offset_that_rows_share_does_not_spoil_their_distances():
    changes = made(20, 50_000) * np.float32(1e-5)
    rows = np.float32(0.05) + changes
    assert np.allclose(geometry_of(rows).distances_squared, squared_distances(rows), rtol=1e-6)


def test_a_single_large_number_in_a_row_does_not_spoil_the_distances_of_the_others():
    rows = made(12, 40_000)
    norm = np.linalg.norm(rows[0])
    rows[0] = 0
    rows[0, 7] = 4 * norm
    near = geometry_of(rows).distances_squared[1:, 1:]
    assert np.allclose(near, squared_distances(rows[1:]), rtol=1e-5)


def test_equal_rows_have_no_distance():
    rows = np.repeat(made(1, 20_000), 5, axis=0)
    assert not geometry_of(rows).distances_squared.any()


def test_reference_vectors_have_dots_with_the_members_and_no_say_in_their_distances():
    rows = made(6, 20_000)
    anchor, step = 30 * made_numbers("anchor", 20_000), np.float32(1e-3) * made_numbers("step", 20_000)
    geometry, alone = geometry_of(rows, (anchor, step)), geometry_of(rows)
    wide = rows.astype(np.float64)
    assert np.allclose(geometry.reference_dots, [wide @ anchor, wide @ step], rtol=1e-4, atol=1e-4)
    assert np.array_equal(geometry.distances_squared, alone.distances_squared)
    assert np.array_equal(geometry.gram, alone.gram)


@pytest.mark.parametrize("size", [1e-30, 1e-18, 1e18, 1e29])
def test_sizes_at_the_ends_of_what_ingest_takes_are_measured(size):
    rows = made(5, 300) * np.float32(size / 20)
    assert np.allclose(geometry_of(rows).distances_squared, squared_distances(rows), rtol=1e-5, atol=0)


def test_zero_rows_are_measured():
    geometry = geometry_of(np.zeros((3, 10), np.float32))
    assert not geometry.distances_squared.any()
    assert not geometry.norms.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    block = made(4, 100)
    block[2, 50] = bad
    with pytest.raises(AggregationError, match="not finite"):
        GramBlock(4, 4).gram(block)


@pytest.mark.parametrize("times", [1e3, 1e15])
def test_rows_that_are_larger_than_their_norms_are_refused(times):
    rows = made(4, 40_000)
    shape = GeometryShape.of([1e-4 if times == 1e3 else 1e-10] * 4)

    def open_row(row, segment, out):
        out[:] = rows[row][segment * SEGMENT_PARAMETERS :][: len(out)] * np.float32(times)

    with pytest.raises(AggregationError, match="larger than their recorded norms"):
        measure_range(plan_shards(40_000)[0], shape, open_row)


def test_blocks_that_are_too_large_only_together_are_refused():
    rows = made(2, 40 * SEGMENT_PARAMETERS)
    norm = settled_norm(rows[0]) / 16
    shape = GeometryShape.of([norm, norm])

    def open_row(row, segment, out):
        out[:] = rows[row][segment * SEGMENT_PARAMETERS :][: len(out)]

    with pytest.raises(AggregationError, match="larger than their recorded norms"):
        measure_range(plan_shards(rows.shape[1], max_shards=1)[0], shape, open_row)


@pytest.mark.parametrize(
    ("norms", "references", "message"),
    [
        ([], [], "1 to 2048 updates; got 0"),
        ([1.0] * 2049, [], "got 2049"),
        ([1.0, float("nan")], [], "finite"),
        ([-1.0], [], "finite"),
        ([1.0], [float("inf")], "finite"),
    ],
)
def test_rows_that_cannot_be_measured_are_refused(norms, references, message):
    with pytest.raises(AggregationError, match=message):
        GeometryShape.of(norms, references=references)


@pytest.fixture
def parts():
    rows = made(3, 3 * SEGMENT_PARAMETERS)
    return measured(rows, [Member(f"u{i:04}", settled_norm(row), 1) for i, row in enumerate(rows)], max_shards=3)


def test_a_part_is_the_same_after_being_bytes(parts):
    assert PartialGeometry.from_bytes(parts[0].to_bytes()).to_bytes() == parts[0].to_bytes()
    assert np.array_equal(PartialGeometry.from_bytes(parts[0].to_bytes()).gram, parts[0].gram)


def flip_the_magic(raw):
    return b"x" + raw[1:]


def cut_off(raw):
    return raw[:-1]


def add_a_byte(raw):
    return raw + b"\0"


def leave_only_the_head(raw):
    return raw[:20]


def leave_less_than_the_head(raw):
    return raw[:5]


def claim_no_members(raw):
    return raw[:8] + struct.pack("<I", 0) + raw[12:]


def claim_too_large_dots(raw):
    return raw[:-80] + struct.pack("<q", 2**62) + raw[-72:]


def claim_a_range_twice(raw):
    return raw[:16] + struct.pack("<I", 2) + raw[20:52] + raw[36:52] + raw[52:]


@pytest.mark.parametrize(
    "damage",
    [
        flip_the_magic,
        cut_off,
        add_a_byte,
        leave_only_the_head,
        leave_less_than_the_head,
        claim_no_members,
        claim_too_large_dots,
        claim_a_range_twice,
    ],
)
def test_damaged_bytes_of_a_part_are_refused(parts, damage):
    with pytest.raises(AggregationError):
        PartialGeometry.from_bytes(damage(parts[0].to_bytes()))


def test_a_part_that_comes_twice_is_refused(parts):
    with pytest.raises(AggregationError, match="in two parts"):
        parts[1].merge(parts[0]).merge(parts[1])


def test_a_missing_part_is_noticed(parts):
    with pytest.raises(AggregationError, match="parameters 0 to 49152"):
        Geometry.of(merged([parts[0], parts[2]]), parameters=3 * SEGMENT_PARAMETERS)


def test_parts_of_other_rows_are_not_merged(parts):
    rows = made(4, 3 * SEGMENT_PARAMETERS)
    (other,) = measured(rows, [Member(f"u{i:04}", settled_norm(row), 1) for i, row in enumerate(rows)])
    with pytest.raises(AggregationError, match="of different rows"):
        parts[0].merge(other)
