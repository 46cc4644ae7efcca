"""What one update shows of itself while it streams past, beside its norm: no second read of it.

- per-tensor norm shares: where in the model the update lies;
- signs: how much of it is positive, negative, zero (SignGuard, Xu et al. 2021, arXiv:2109.05872);
- the sketch, for the cosine with the client's own moving average.

Signs are counted in the segments that are sketched. The squares come from dot products, whose last bits depend on the
processor: they are measured once, here, and recorded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boltz_core.arrays import Float32Vector, Float64Vector
from boltz_core.ingest.segments import SEGMENT_PARAMETERS
from boltz_core.trust.errors import TrustError
from boltz_core.trust.sketch import UpdateSketch


@dataclass(frozen=True)
class SignShares:
    """Shares of the parameters looked at that are above, below and equal to 0; they sum to 1."""

    positive: float
    negative: float
    zero: float

    def as_tuple(self) -> tuple[float, float, float]:
        """Positive, negative, zero."""
        return self.positive, self.negative, self.zero


@dataclass(frozen=True)
class IngestMeasures:
    """What was measured of one update. `tensor_shares`: squared norm of each tensor over the whole; zeros for zeros."""

    norm: float
    tensor_shares: tuple[float, ...]
    signs: SignShares
    sketch: Float32Vector


class IngestMeter:
    """Measures one update, given its segments once each, from the first to the last."""

    def __init__(self, tensor_sizes: Sequence[int], seed: bytes) -> None:
        """Start with the sizes of the model's tensors, in the order of its layout; each at least 1."""
        self._ends = _ends(tensor_sizes)
        self._squares = [0.0] * len(self._ends)
        self._tensor = 0
        self._seen = 0
        self._sketch = UpdateSketch(seed, parameters=self._ends[-1])
        self._positive = self._negative = self._counted = 0
        self._flags = np.empty(SEGMENT_PARAMETERS, dtype=np.bool_)

    def add(self, index: int, segment: Float32Vector, wide: Float64Vector) -> None:
        """Take in a segment, and the same numbers as float64, which the caller has anyway.

        Raises:
            TrustError: more parameters than the tensors have.
        """
        if self._seen + len(segment) > self._ends[-1]:
            raise TrustError(f"segment {index} goes beyond the {self._ends[-1]} parameters of the layout")
        self._add_squares(wide)
        self._sketch.add(index, segment)
        if self._sketch.looks_at(index):
            self._count_signs(segment)

    def measures(self) -> IngestMeasures:
        """What was measured, after the last segment.

        Raises:
            TrustError: fewer parameters than the tensors have.
        """
        if self._seen != self._ends[-1]:
            raise TrustError(f"{self._seen} parameters were measured; the layout has {self._ends[-1]}")
        total = math.fsum(self._squares)
        zero = self._counted - self._positive - self._negative
        return IngestMeasures(
            norm=math.sqrt(total),
            tensor_shares=tuple(square / total if total else 0.0 for square in self._squares),
            signs=SignShares(self._positive / self._counted, self._negative / self._counted, zero / self._counted),
            sketch=self._sketch.values(),
        )

    def _add_squares(self, wide: Float64Vector) -> None:
        """Add the squares of a segment to the tensors that it runs through."""
        start, end = self._seen, self._seen + len(wide)
        while start < end:
            stop = min(end, self._ends[self._tensor])
            part = wide[start - self._seen : stop - self._seen]
            self._squares[self._tensor] += float(np.dot(part, part))
            self._tensor += stop == self._ends[self._tensor]
            start = stop
        self._seen = end

    def _count_signs(self, segment: Float32Vector) -> None:
        flags = self._flags[: len(segment)]
        self._positive += int(np.count_nonzero(np.greater(segment, 0, out=flags)))
        self._negative += int(np.count_nonzero(np.less(segment, 0, out=flags)))
        self._counted += len(segment)


def _ends(sizes: Sequence[int]) -> tuple[int, ...]:
    if not sizes or min(sizes) < 1:
        raise TrustError(f"a layout has tensors of at least one parameter; got {list(sizes)}")
    ends: list[int] = []
    for size in sizes:
        ends.append(size + (ends[-1] if ends else 0))
    return tuple(ends)
