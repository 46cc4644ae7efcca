"""A row that a statistic looks at: an exact mean of some members, shortened or not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.integer_weights import MAX_WEIGHT, smallest_integers
from boltz_core.aggregation.rows import settled_mass
from boltz_core.arrays import Float64Vector


class RecordedRow(msgspec.Struct, forbid_unknown_fields=True):
    """A mixed row in a record: bit i of `members`, hexadecimal, is set where member i is in it.

    `weights` belong to these members, None where all are 1.
    """

    members: str
    weights: list[int] | None
    mass: str
    weight: int


@dataclass(frozen=True)
class MixedRow:
    """mass * sum(weights[j] * member[members[j]]) / sum(weights), which the statistic gives the weight `weight`."""

    members: tuple[int, ...]
    weights: tuple[int, ...]
    mass: float
    weight: int

    @classmethod
    def of(cls, coefficients: Float64Vector, weight: int) -> "MixedRow":
        """The row of these coefficients of all members, rounded to integers of 20 bits."""
        integers = smallest_integers(coefficients)
        members = np.flatnonzero(integers)
        mass = settled_mass(math.fsum(coefficients))
        return cls(tuple(members.tolist()), tuple(integers[members].tolist()), mass, weight)

    @property
    def divisor(self) -> float:
        """What the weighted sum is divided by."""
        return sum(self.weights) / self.mass

    def record(self) -> RecordedRow:
        """The row as JSON values."""
        mask = sum(1 << member for member in self.members)
        weights = None if set(self.weights) == {1} else list(self.weights)
        return RecordedRow(f"{mask:x}", weights, repr(self.mass), self.weight)

    @classmethod
    def from_record(cls, recorded: RecordedRow, *, members: int) -> "MixedRow":
        """The row again.

        Raises:
            AggregationError: a row that cannot be.
        """
        mask, mass = int(recorded.members, 16), float(recorded.mass)
        inside = tuple(member for member in range(members) if mask >> member & 1)
        weights = (1,) * len(inside) if recorded.weights is None else tuple(recorded.weights)
        whole = inside and 0 < mask < 1 << members and len(weights) == len(inside)
        if not (whole and _in_range((*weights, max(1, recorded.weight))) and recorded.weight >= 0 and 0 < mass <= 1):
            raise AggregationError("a mixed row of the record cannot be")
        return cls(inside, weights, mass, recorded.weight)


def _in_range(weights: Sequence[int]) -> bool:
    return all(0 < weight <= MAX_WEIGHT for weight in weights)
