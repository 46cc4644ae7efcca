import math
import struct
import tracemalloc

import numpy as np
import pytest

from boltz_core.ingest import segments
from boltz_core.ingest.segments import SEGMENT_PARAMETERS, SegmentOpener, SegmentSealer
from boltz_core.ingest.staging import RejectedUpdateError, stage_update
from boltz_protocol.envelope import EnvelopeError
from boltz_protocol.errors import ServerFaultError
from tests.unit.core.made_rows import made_numbers

KEY = bytes(range(32))
LARGEST = float(np.finfo(np.float32).max)


def place(layout):
    return {"update_id": "u_1", "attempt": 1, "layout_digest": layout.digest}


@pytest.fixture
def stage(opened_update, layout_of_size):
    """Stage a vector by way of a real envelope; give the facts and the staged file."""

    def run(values, *, max_norm=1e30, **more):
        layout = layout_of_size(len(values))
        staged = bytearray()
        facts = stage_update(
            opened_update(values),
            layout=layout,
            max_norm=max_norm,
            sealer=SegmentSealer(KEY, **place(layout)),
            write=staged.extend,
            **more,
        )
        return facts, bytes(staged)

    return run


def read_staged(staged, layout):
    opener = SegmentOpener(KEY, **place(layout))
    vector = np.empty(layout.parameters, dtype=np.float32)
    for index in range(segments.segment_count(layout.parameters)):
        start = index * SEGMENT_PARAMETERS
        count = segments.segment_parameters(index, layout.parameters)
        offset = segments.sealed_offset(index)
        opener.open_into(index, staged[offset : offset + 4 * count + 16], vector[start : start + count])
    return vector


@pytest.mark.parametrize("parameters", [1, 5, SEGMENT_PARAMETERS, SEGMENT_PARAMETERS + 1, 200_003])
def test_what_is_staged_opens_to_the_update(stage, layout_of_size, claims, parameters):
    vector = made_numbers(str(parameters), parameters)
    facts, staged = stage(vector)
    layout = layout_of_size(parameters)
    assert np.array_equal(read_staged(staged, layout), vector)
    assert len(staged) == segments.sealed_length(parameters)
    assert (facts.claims, facts.parameters, facts.segments) == (claims, parameters, segments.segment_count(parameters))


def test_the_norm_is_a_float64_norm(stage):
    vector = made_numbers("norm", 100_000)
    facts, _ = stage(vector)
    assert facts.norm == pytest.approx(math.sqrt(math.fsum(float(x) ** 2 for x in vector)), rel=1e-13)


def test_norms_of_the_largest_float32_do_not_overflow(stage):
    facts, _ = stage([3e38, -3e38, LARGEST], max_norm=1e39)
    assert facts.norm == pytest.approx(math.hypot(3e38, 3e38, LARGEST))


def test_the_dot_with_the_last_step_is_measured_segment_by_segment(stage):
    vector, step = made_numbers("vector", 40_000), made_numbers("step", 40_000)
    facts, _ = stage(vector, last_step=lambda index: step[index * SEGMENT_PARAMETERS :][:SEGMENT_PARAMETERS])
    assert facts.step_dot == pytest.approx(math.fsum(float(x) * float(y) for x, y in zip(vector, step, strict=True)))


def test_without_a_last_step_there_is_no_dot(stage):
    assert stage([1.0])[0].step_dot is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("at", [0, SEGMENT_PARAMETERS - 1, SEGMENT_PARAMETERS, -1])
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(stage, bad, at):
    vector = np.zeros(2 * SEGMENT_PARAMETERS + 9, dtype=np.float32)
    vector[at] = bad
    with pytest.raises(RejectedUpdateError) as refusal:
        stage(vector)
    assert refusal.value.code == "not_finite"


def test_opposite_infinities_do_not_cancel(stage):
    with pytest.raises(RejectedUpdateError, match="infinite"):
        stage([math.inf, -math.inf])


def test_a_signalling_nan_is_refused_and_not_warned_about(stage):
    signalling = np.frombuffer(struct.pack("<I", 0x7F800001), dtype="<f4")
    with pytest.raises(RejectedUpdateError) as refusal:
        stage(np.concatenate([np.ones(5, np.float32), signalling]))
    assert refusal.value.code == "not_finite"


def test_a_refused_update_stops_at_the_first_segment_that_shows_it(stage):
    vector = np.zeros(4 * SEGMENT_PARAMETERS, dtype=np.float32)
    vector[SEGMENT_PARAMETERS] = math.nan
    written = []
    with pytest.raises(RejectedUpdateError):
        stage(vector, on_segment=written.append)
    assert written == [0]


def test_a_norm_above_the_bound_is_refused_with_both_numbers(stage):
    with pytest.raises(RejectedUpdateError, match=r"norm is 5; at most 4\.9") as refusal:
        stage([3.0, 4.0], max_norm=4.9)
    assert refusal.value.code == "norm_too_large"


@pytest.mark.parametrize(("norm", "accepted"), [(1.0, True), (1 + 9e-7, True), (1 + 1.2e-6, False)])
def test_a_client_that_clips_in_float32_is_not_refused_for_rounding(stage, norm, accepted):
    if accepted:
        assert stage([norm], max_norm=1.0)[0].parameters == 1
    else:
        with pytest.raises(RejectedUpdateError):
            stage([norm], max_norm=1.0)


def test_minus_zero_becomes_zero(stage, layout_of_size):
    _, staged = stage([-0.0, 1.0, -0.0])
    assert read_staged(staged, layout_of_size(3)).tobytes() == np.array([0, 1, 0], np.float32).tobytes()


def test_each_segment_is_reported_after_it_is_written(opened_update, layout_of_size):
    events = []
    vector = np.ones(2 * SEGMENT_PARAMETERS + 1, dtype=np.float32)
    layout = layout_of_size(len(vector))
    stage_update(
        opened_update(vector),
        layout=layout,
        max_norm=1e6,
        sealer=SegmentSealer(KEY, **place(layout)),
        write=lambda piece: events.append(len(piece)),
        on_segment=lambda index: events.append(f"segment {index}"),
    )
    assert events == [65552, "segment 0", 65552, "segment 1", 20, "segment 2"]


def test_memory_does_not_grow_with_the_model(seal_update, open_update, layout_of_size):
    def peak(parameters):
        layout = layout_of_size(parameters)
        raw = seal_update(np.ones(parameters, dtype=np.float32))
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            facts = stage_update(
                open_update(memoryview(raw), layout),
                layout=layout,
                max_norm=1e6,
                sealer=SegmentSealer(KEY, **place(layout)),
                write=len,
                last_step=lambda _: np.float32(1),
            )
            assert facts.step_dot == parameters
            return tracemalloc.get_traced_memory()[1] - before - len(raw)  # the test's own copy of the file
        finally:
            tracemalloc.stop()

    small, large = peak(300_000), peak(3_000_000)
    assert large < small + 64 * 1024
    assert large < 2 * 1024 * 1024


@pytest.mark.parametrize("cut", [1, 17, 100_000])
def test_a_truncated_envelope_is_refused(seal_update, open_update, layout_of_size, cut):
    raw = seal_update(np.ones(100_000, dtype=np.float32))
    layout = layout_of_size(100_000)
    with pytest.raises(EnvelopeError) as refusal:
        stage_update(
            open_update(raw[:-cut], layout),
            layout=layout,
            max_norm=1e6,
            sealer=SegmentSealer(KEY, **place(layout)),
            write=len,
        )
    assert refusal.value.code == "undecryptable"


def test_an_envelope_opened_with_another_layout_is_our_fault(opened_update, layout_of_size):
    layout = layout_of_size(4)
    with pytest.raises(ServerFaultError, match="gave 3 parameters; the layout has 4"):
        stage_update(
            opened_update([1.0, 2.0, 3.0]),
            layout=layout,
            max_norm=1e6,
            sealer=SegmentSealer(KEY, **place(layout)),
            write=len,
        )
