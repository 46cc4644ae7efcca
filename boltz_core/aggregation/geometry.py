"""Pass 1 of an aggregation: norms, distances and dots of all rows, over one parameter range, then over all.

Rows are the members in their order, reference vectors if there are any (an anchor, the last released step), and the
origin. Each range gives a `PartialGeometry`: integers, so that partial ones are merged in any order to the same bits.
The whole is a `Geometry`, in float64. Everything downstream is decided from it, never from the rows.

Units. Row i, centred, has a norm of at most 2^b[i], which follows from the recorded norms; the dot of rows i and j is
counted in units of 2^(b[i] + b[j] - 60), so that sums over all blocks are below 2^61 in size. One more rounding of
2^-61 relative to these bounds, for each block of 8192 columns.
"""

import hashlib
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.exact_gram import GRAM_COLUMNS, GramBlock
from boltz_core.aggregation.segment_rows import OpenSegment, SegmentRows
from boltz_core.aggregation.shards import ParameterRange
from boltz_core.arrays import Float64Block, Float64Vector
from boltz_core.ingest.segments import segment_parameters

MAX_ROWS = 2**11
UNIT_BITS = 30
_LIMIT = 2.0**61
_HEAD = struct.Struct("<8sIII")
_MAGIC = b"boltzgm1"


@dataclass(frozen=True)
class GeometryShape:
    """Which rows there are, and how large each may be once centred: at most 2^exponent."""

    members: int
    exponents: tuple[int, ...]

    @classmethod
    def of(cls, norms: Iterable[float], *, references: Iterable[float] = ()) -> "GeometryShape":
        """The shape for members with these norms, and references with those.

        The centre's norm is at most sqrt(n) times the largest of the members'.

        Raises:
            AggregationError: no members, or more than 2048; a norm that is not a finite number from 0.
        """
        own, others = list(norms), list(references)
        if not 1 <= len(own) <= MAX_ROWS:
            raise AggregationError(f"geometry takes 1 to {MAX_ROWS} updates; got {len(own)}")
        if not all(math.isfinite(norm) and norm >= 0 for norm in own + others):
            raise AggregationError("norms are finite and not negative")
        centre = math.sqrt(len(own)) * max(own)
        member, origin = max(own) + centre, max(own) + centre
        bounds = [member] * len(own) + [norm + centre for norm in others] + [origin]
        # a thousandth of room for norms that were summed in another order
        return cls(len(own), tuple(math.frexp(bound * 1.001)[1] for bound in bounds))

    @property
    def rows(self) -> int:
        """Members, references, and the origin, which is the last."""
        return len(self.exponents)

    @cached_property
    def unit_exponents(self) -> NDArray[np.int32]:
        """The dot of rows i and j is counted in 2^(u[i] + u[j])."""
        return np.array(self.exponents, dtype=np.int32) - np.int32(UNIT_BITS)


@dataclass(frozen=True)
class PartialGeometry:
    """The Gram matrix over some parameter ranges, as integers; `spans` are these ranges, in order, joined."""

    shape: GeometryShape
    spans: tuple[tuple[int, int], ...]
    gram: NDArray[np.int64]

    def merge(self, other: "PartialGeometry") -> "PartialGeometry":
        """Both together.

        Raises:
            AggregationError: of other rows, or over parameters that this one has too.
        """
        if self.shape != other.shape:
            raise AggregationError("two parts of a geometry are of different rows")
        return PartialGeometry(self.shape, _joined(self.spans + other.spans), _checked(self.gram + other.gram))

    def to_bytes(self) -> bytes:
        """Little-endian: magic, counts of members, rows and spans, exponents (i32), spans (u64), dots (i64).

        Of the dots the upper triangle, row by row.
        """
        rows = self.shape.rows
        borders = [border for span in self.spans for border in span]
        return (
            _HEAD.pack(_MAGIC, self.shape.members, rows, len(self.spans))
            + struct.pack(f"<{rows}i", *self.shape.exponents)
            + struct.pack(f"<{len(borders)}Q", *borders)
            + self.gram[np.triu_indices(rows)].astype("<i8").tobytes()
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> "PartialGeometry":
        """Read what `to_bytes` wrote.

        Raises:
            AggregationError: anything else.
        """
        try:
            magic, members, rows, spans = _HEAD.unpack_from(raw)
            exponents = struct.unpack_from(f"<{rows}i", raw, _HEAD.size)
            borders = struct.unpack_from(f"<{2 * spans}Q", raw, _HEAD.size + 4 * rows)
        except struct.error as error:
            raise AggregationError(f"not a part of a geometry: {error}") from error
        start = _HEAD.size + 4 * rows + 16 * spans
        if magic != _MAGIC or not 0 < members < rows or len(raw) != start + 4 * rows * (rows + 1):
            raise AggregationError("not a part of a geometry")
        gram = np.zeros((rows, rows), dtype=np.int64)
        gram[np.triu_indices(rows)] = np.frombuffer(raw, dtype="<i8", offset=start)
        gram += np.triu(gram, 1).T
        shape = GeometryShape(members, exponents)
        return cls(shape, _joined(tuple(zip(borders[::2], borders[1::2], strict=True))), _checked(gram))

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes, hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def _joined(spans: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The spans in order, neighbours made one."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if joined and start < joined[-1][1]:
            raise AggregationError(f"parameter {start} is in two parts of a geometry")
        if joined and start == joined[-1][1]:
            start = joined.pop()[0]  # noqa: PLW2901  (the two become one)
        joined.append((start, stop))
    return tuple(joined)


def _checked(gram: NDArray[np.int64]) -> NDArray[np.int64]:
    """No sum of two such matrices overflows: the dots of a row with itself bound all others (Cauchy)."""
    if int(gram.diagonal().max()) > int(_LIMIT):
        raise AggregationError("rows are larger than their recorded norms")
    return gram


def measure_range(span: ParameterRange, shape: GeometryShape, open_row: OpenSegment) -> PartialGeometry:
    """Compute the geometry over one parameter range.

    Args:
        span: from `plan_shards`, so that blocks of 8192 columns are the same however a vector is split.
        shape: the rows.
        open_row: called with (row, segment, out); fills `out`. Members are rows 0 to n - 1, references n and up.

    Raises:
        AggregationError: a number that is not finite, or rows larger than their recorded norms.
        SegmentError: as `open_row` raises it.
    """
    values = SegmentRows(range(shape.rows - 1), more=1)
    block = GramBlock(shape.rows, shape.members)
    total = np.zeros((shape.rows, shape.rows), dtype=np.int64)
    for segment in range(span.first_segment, span.last_segment_exclusive):
        parameters = segment_parameters(segment, span.stop)
        rows = values.read(segment, parameters, open_row)
        rows[-1] = 0
        for start in range(0, parameters, GRAM_COLUMNS):
            integers, exponents = block.gram(rows[:, start : start + GRAM_COLUMNS])
            total = _checked(total + _in_units(integers, exponents - shape.unit_exponents))
    return PartialGeometry(shape, ((span.start, span.stop),), total)


def _in_units(integers: Float64Block, shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    """A block's Gram matrix in the units of the whole, rounded to nearest."""
    factors = np.ldexp(1.0, shifts)
    scaled = integers * factors[:, None] * factors
    if not float(scaled.diagonal().max()) <= _LIMIT:
        raise AggregationError("rows are larger than their recorded norms")
    return np.rint(scaled).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Geometry:
    """What is decided from, in float64.

    `gram` has the dots of the centred members, then of the origin, which is its last row and column;
    `distances_squared` are those between members; `reference_dots` one row for each reference: its dots with the
    members, not centred.
    """

    gram: Float64Block
    distances_squared: Float64Block
    reference_dots: Float64Block
    digest: str | None = None

    @classmethod
    def of(cls, whole: PartialGeometry, *, parameters: int) -> "Geometry":
        """The geometry of all parameters.

        Raises:
            AggregationError: a part is missing.
        """
        if whole.spans != ((0, parameters),):
            raise AggregationError(f"the geometry covers {whole.spans}; the model has parameters 0 to {parameters}")
        n, units = whole.shape.members, whole.shape.unit_exponents
        own = whole.gram[:n, :n]
        squares = own.diagonal()
        # in integers, so that equal rows have distance 0 and nothing cancels twice
        apart = np.maximum(squares[:, None] + squares - 2 * own, 0)
        np.fill_diagonal(apart, 0)
        gram = np.ldexp(whole.gram.astype(np.float64), units[:, None] + units)
        kept = [*range(n), whole.shape.rows - 1]
        return cls(
            gram=gram[np.ix_(kept, kept)],
            distances_squared=np.ldexp(apart.astype(np.float64), 2 * units[0]),
            reference_dots=_uncentred(gram)[n:-1, :n],
            digest=whole.digest,
        )

    @property
    def members(self) -> int:
        """How many."""
        return len(self.distances_squared)

    @property
    def norms(self) -> Float64Vector:
        """The members' norms: their distances from the origin."""
        return np.sqrt(np.maximum(self.dots.diagonal(), 0.0))

    @property
    def dots(self) -> Float64Block:
        """Dots of the members as they are, not centred."""
        return _uncentred(self.gram)[:-1, :-1]


def _uncentred(gram: Float64Block) -> Float64Block:
    """Dots of the rows as they were, from those of the centred ones, of which the last is the origin."""
    to_origin = gram[-1]
    dots: Float64Block = gram - to_origin[:, None] - to_origin + to_origin[-1]
    return dots
