"""Rows of an array, seen as the engine sees staged updates: with an id, a norm, and segments that open.

Ids follow the rows' values, not their places, so that the order in which they came cannot change a bit.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from boltz_core.aggregation.decision import Decision, Member
from boltz_core.aggregation.planned_decision import Admitted, Terms, admit
from boltz_core.aggregation.segment_rows import OpenSegment
from boltz_core.arrays import Float32Vector, Float64Block, Float64Vector
from boltz_core.ingest.segments import SEGMENT_PARAMETERS
from boltz_core.rounds.policy import MAX_NORM, MIN_NORM

NORM_BITS = 40
_FIRST_LOOK = 64


class HeldRows:
    """Finite rows of shape (n, d), float32 or float64, with their weights."""

    def __init__(self, rows: Float64Block, weights: Float64Vector) -> None:
        self._rows = rows
        self._place = {f"{place:06}": row for place, row in enumerate(ordered_rows(rows, weights))}
        self.weights = {name: float(weights[row]) for name, row in self._place.items()}

    def admitted(self) -> tuple[Admitted, float]:
        """Who passes the gate, and the largest norm of these, which is the bound of the grid."""
        members = [Member(name, settled_norm(self._rows[row]), 1) for name, row in self._place.items()]
        admitted = admit(members, terms=Terms(MAX_NORM, example_cap=1))
        return admitted, max(MIN_NORM, *admitted.norms)

    def open_segments(self, admitted: Admitted) -> OpenSegment:
        """Segments of the admitted rows, by their index."""
        places = [self._place[member.update_id] for member in admitted.members]

        def open_segment(member: int, segment: int, out: Float32Vector) -> None:
            start = segment * SEGMENT_PARAMETERS
            out[:] = self._rows[places[member], start : start + len(out)]

        return open_segment

    def as_they_came(self, decision: Decision) -> Float64Vector:
        """The coefficients of a weighted sum, in the order of the array; 0 for what was gated."""
        weights = np.zeros(len(self._rows))
        for member, weight in zip(decision.members, decision.weights, strict=True):
            weights[self._place[member.update_id]] = weight / decision.divisor
        return weights


def ordered_rows(rows: Float64Block, weights: Float64Vector) -> list[int]:
    """The rows in an order of their values, and of their weights where rows are equal."""
    return list(_ordered(list(range(len(rows))), 0, rows, weights))


def _ordered(group: list[int], start: int, rows: Float64Block, weights: Float64Vector) -> Iterable[int]:
    """Order rows that are equal before `start` by what comes then, looking farther only where they are equal again."""
    if len(group) == 1 or start >= rows.shape[1]:
        yield from sorted(group, key=lambda row: float(weights[row]))
        return
    stop = start + max(_FIRST_LOOK, start)
    alike: dict[bytes, list[int]] = {}
    for row in group:
        alike.setdefault(rows[row, start:stop].tobytes(), []).append(row)
    for look in sorted(alike):
        yield from _ordered(alike[look], stop, rows, weights)


def settled_norm(row: NDArray[np.floating]) -> float:
    """The L2 norm, rounded to 40 bits: processors sum in other orders, and they agree to that.

    For a row that no grid holds its largest number, which says as much and cannot overflow.
    """
    largest = max(float(row.max()), -float(row.min()))
    if largest > MAX_NORM:
        return largest
    squares = 0.0
    for start in range(0, len(row), SEGMENT_PARAMETERS):
        wide = row[start : start + SEGMENT_PARAMETERS].astype(np.float64)
        squares += float(np.dot(wide, wide))
    fraction, exponent = math.frexp(math.sqrt(squares))
    return math.ldexp(round(math.ldexp(fraction, NORM_BITS)), exponent - NORM_BITS)
