"""One streaming pass over one opened update: validate, measure, seal again in segments.

Memory does not grow with the model: a handful of buffers of one segment each, reused. Segments are written before the
last one is known to be good, so whoever gives `write` throws the output away when this raises.

NaN and infinities are refused and -0 becomes +0. Norm and dot are float64 sums: no square of a float32 overflows them
(2^31 squares of 3.4e38 are below 3e86). Their last bits depend on the processor, so they are measured once, here, and
recorded.

The claims come checked from the envelope; they are handed on, not believed.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from boltz_core.arrays import Float32Vector
from boltz_core.ingest import segments
from boltz_core.ingest.segments import SEGMENT_PARAMETERS, SegmentSealer
from boltz_protocol.envelope import OpenedEnvelope
from boltz_protocol.errors import SenderError, ServerFaultError
from boltz_protocol.messages import Claims
from boltz_protocol.tensors import Layout

NORM_TOLERANCE = 1e-6  # a client that clips in float32 lands a little above its bound


class RejectedUpdateError(SenderError):
    """An update whose numbers break a rule. Codes: not_finite, norm_too_large."""

    default_code = "rejected"


@dataclass(frozen=True)
class StagedFacts:
    """What the pass found out about an update; `step_dot` is its dot with the last released step, if there is one."""

    claims: Claims
    norm: float
    step_dot: float | None
    parameters: int
    segments: int


def stage_update(
    opened: OpenedEnvelope,
    *,
    layout: Layout,
    max_norm: float,
    sealer: SegmentSealer,
    write: Callable[[memoryview], object],
    last_step: Callable[[int], Float32Vector] | None = None,
    on_segment: Callable[[int], object] = lambda _: None,
) -> StagedFacts:
    """Validate and measure an opened update while sealing it again, segment by segment.

    Args:
        opened: from `envelope.open_sealed` with the same `layout`.
        layout: the model's.
        max_norm: the round's hard bound on the L2 norm; exceeded by less than one in a million it still holds.
        sealer: fresh, for this update and attempt.
        write: takes each sealed segment, in order; a view of a reused buffer, to be used up before it returns.
        last_step: gives segment `index` of the last released step; None where there is none.
        on_segment: called with the index of each segment once it is written (to renew a lease).

    Raises:
        RejectedUpdateError: `not_finite` at the first segment that shows it; `norm_too_large` after the last one.
        EnvelopeError: `undecryptable`, as `OpenedEnvelope.blocks` has it.
        ServerFaultError: the envelope was opened with another layout.
    """
    measure = _Measure(last_step)
    sealed = bytearray(segments.SEALED_SEGMENT_BYTES)
    count = 0
    parameters = 0
    for segment in _cut(opened):
        measure.add(count, segment)
        write(memoryview(sealed)[: sealer.seal_into(count, segment, sealed)])
        on_segment(count)
        count += 1
        parameters += len(segment)
    if parameters != layout.parameters:
        raise ServerFaultError(f"the envelope gave {parameters} parameters; the layout has {layout.parameters}")
    if measure.norm > max_norm * (1 + NORM_TOLERANCE):
        raise RejectedUpdateError(
            f"the norm is {measure.norm:.6g}; at most {max_norm:.6g} is allowed", code="norm_too_large"
        )
    return StagedFacts(
        claims=opened.claims, norm=measure.norm, step_dot=measure.step_dot, parameters=parameters, segments=count
    )


def _cut(opened: OpenedEnvelope) -> Iterator[Float32Vector]:
    """Yield the update in whole segments, each a view of one reused buffer, with -0 made +0."""
    buffer = np.empty(SEGMENT_PARAMETERS, dtype="<f4")
    filled = 0
    for block in opened.blocks():
        values = np.frombuffer(block, dtype="<f4")
        while len(values):
            taken = min(SEGMENT_PARAMETERS - filled, len(values))
            with np.errstate(invalid="ignore"):  # a signalling NaN is refused below, not warned about
                np.add(values[:taken], np.float32(0), out=buffer[filled : filled + taken])
            values = values[taken:]
            filled += taken
            if filled == SEGMENT_PARAMETERS:
                yield buffer
                filled = 0
    if filled:
        yield buffer[:filled]


class _Measure:
    """Running sums over the segments: the squares, and the dot with the last step."""

    def __init__(self, last_step: Callable[[int], Float32Vector] | None) -> None:
        self._last_step = last_step
        self._squares = 0.0
        self._dot = 0.0
        self._wide = np.empty(SEGMENT_PARAMETERS)
        self._wide_step = np.empty(SEGMENT_PARAMETERS)

    @property
    def norm(self) -> float:
        return math.sqrt(self._squares)

    @property
    def step_dot(self) -> float | None:
        return None if self._last_step is None else self._dot

    def add(self, index: int, segment: Float32Vector) -> None:
        """Take in one segment, or refuse it: its sum of squares is finite exactly if each of its numbers is."""
        wide = self._wide[: len(segment)]
        np.copyto(wide, segment)
        squares = float(np.dot(wide, wide))
        if not math.isfinite(squares):
            raise RejectedUpdateError("the update holds NaN or infinite numbers", code="not_finite")
        self._squares += squares
        if self._last_step is not None:
            wide_step = self._wide_step[: len(segment)]
            np.copyto(wide_step, self._last_step(index))
            self._dot += float(np.dot(wide, wide_step))
