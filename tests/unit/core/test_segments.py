import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.ingest import segments
from boltz_core.ingest.segments import (
    SEALED_SEGMENT_BYTES,
    SEGMENT_PARAMETERS,
    SegmentError,
    SegmentOpener,
    SegmentSealer,
)

KEY = bytes(range(32))
PLACE = {"update_id": "u_1", "attempt": 1, "layout_digest": "ab" * 32}


def seal(index, block, *, key=KEY, **place):
    out = bytearray(SEALED_SEGMENT_BYTES)
    length = SegmentSealer(key, **{**PLACE, **place}).seal_into(index, block, out)
    return bytes(out[:length])


def open_(index, sealed, *, key=KEY, **place):
    out = bytearray(segments.SEGMENT_BYTES)
    length = SegmentOpener(key, **{**PLACE, **place}).open_into(index, sealed, out)
    return bytes(out[:length])


@pytest.mark.parametrize("parameters", [1, 7, SEGMENT_PARAMETERS])
def test_a_segment_opens_to_the_numbers_that_were_sealed(parameters):
    block = np.arange(parameters, dtype=np.float32)
    sealed = seal(3, block)
    out = np.empty(parameters, dtype=np.float32)
    assert SegmentOpener(KEY, **PLACE).open_into(3, memoryview(sealed), out) == 4 * parameters
    assert np.array_equal(out, block)
    assert len(sealed) == 4 * parameters + 16


def test_segments_open_in_any_order():
    sealer = SegmentSealer(KEY, **PLACE)
    sealed = []
    for index in range(4):
        out = bytearray(SEALED_SEGMENT_BYTES)
        length = sealer.seal_into(index, bytes([index]) * 100, out)
        sealed.append(bytes(out[:length]))
    assert [open_(index, sealed[index])[0] for index in (2, 0, 3, 1)] == [2, 0, 3, 1]


def test_a_segment_moved_to_another_index_is_refused():
    with pytest.raises(SegmentError) as refusal:
        open_(1, seal(0, b"x" * 64))
    assert refusal.value.code == "segment_damaged"


@pytest.mark.parametrize(
    "other", [{"update_id": "u_2"}, {"attempt": 2}, {"layout_digest": "cd" * 32}, {"key": bytes(32)}], ids=str
)
def test_a_segment_of_another_update_attempt_layout_or_key_is_refused(other):
    with pytest.raises(SegmentError, match="does not open"):
        open_(0, seal(0, b"x" * 64), **other)


@given(place=st.integers(0, 79), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_refused(place, bit):
    sealed = bytearray(seal(0, b"x" * 64))
    sealed[place] ^= 1 << bit
    with pytest.raises(SegmentError, match="does not open"):
        open_(0, sealed)


@pytest.mark.parametrize("kept", [0, 1, 16, 17, 79])
def test_a_cut_segment_is_refused(kept):
    with pytest.raises(SegmentError):
        open_(0, seal(0, b"x" * 64)[:kept])


def test_a_segment_longer_than_the_room_for_it_is_refused():
    with pytest.raises(SegmentError, match="expected 17 to 79"):
        SegmentOpener(KEY, **PLACE).open_into(0, seal(0, b"x" * 64), bytearray(63))


@pytest.mark.parametrize("again", [0, 1])
def test_an_index_is_sealed_once_and_never_after_a_later_one(again):
    sealer = SegmentSealer(KEY, **PLACE)
    out = bytearray(SEALED_SEGMENT_BYTES)
    sealer.seal_into(1, b"x" * 64, out)
    with pytest.raises(SegmentError, match="must not repeat"):
        sealer.seal_into(again, b"x" * 64, out)


def test_a_second_attempt_under_the_same_key_does_not_repeat_the_key_stream():
    assert seal(0, bytes(64), attempt=1)[:64] != seal(0, bytes(64), attempt=2)[:64]


@pytest.mark.parametrize(
    ("length", "room"), [(0, 100), (segments.SEGMENT_BYTES + 1, SEALED_SEGMENT_BYTES + 1), (64, 79)]
)
def test_an_empty_or_too_long_block_or_too_little_room_is_refused(length, room):
    with pytest.raises(SegmentError, match="a segment holds"):
        SegmentSealer(KEY, **PLACE).seal_into(0, bytes(length), bytearray(room))


@pytest.mark.parametrize("kind", [SegmentSealer, SegmentOpener])
def test_a_key_of_another_length_is_refused(kind):
    with pytest.raises(SegmentError, match="32 bytes"):
        kind(bytes(16), **PLACE)


@given(parameters=st.integers(1, 10**7))
def test_the_file_is_its_sealed_segments_back_to_back(parameters):
    count = segments.segment_count(parameters)
    sizes = [segments.segment_parameters(index, parameters) for index in (0, count - 1)]
    assert all(1 <= size <= SEGMENT_PARAMETERS for size in sizes)
    assert (count - 1) * SEGMENT_PARAMETERS + sizes[1] == parameters
    assert segments.sealed_offset(count - 1) + 4 * sizes[1] + 16 == segments.sealed_length(parameters)
