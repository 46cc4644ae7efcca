"""The integer grid that makes sums exact.

gamma = 2^(ceil(log2 bound) - 32), so a number within the bound becomes an integer of at most 2^32. Every step from
float32 to the grid is exact or a single rounding to the nearest integer (ties to even), hence the same on every
processor.
"""

import math
from dataclasses import dataclass

import numpy as np

from boltz_core.aggregation.errors import AggregationError
from boltz_core.arrays import Float32Block, Float64Block
from boltz_core.rounds.policy import MAX_NORM, MIN_NORM

GRID_BITS = 32
HEADROOM = 2.0**-18  # above ingest's tolerance of 1e-6; exact_sum.py has room for it
_MAX_FLOAT32_EXPONENT = 127


@dataclass(frozen=True)
class Grid:
    """A grid of step `gamma` for numbers of at most `bound` in size."""

    bound: float
    gamma: float

    @classmethod
    def for_bound(cls, bound: float) -> "Grid":
        """The grid for numbers within `bound`, an L2 norm and so also a bound of each coordinate.

        Raises:
            AggregationError: a bound that is not a positive number between 1e-30 and 1e30.
        """
        if not MIN_NORM <= bound <= MAX_NORM:
            raise AggregationError(f"a grid needs a bound from {MIN_NORM} to {MAX_NORM}; got {bound}")
        fraction, exponent = math.frexp(
            bound
        )  # bound = fraction * 2^exponent, 0.5 <= fraction < 1: no rounding, unlike log2
        ceiling = exponent - 1 if fraction == 0.5 else exponent  # noqa: PLR2004  (0.5: a power of two)
        return cls(bound=bound, gamma=math.ldexp(1.0, ceiling - GRID_BITS))

    def to_grid(self, block: Float32Block, out: Float64Block) -> None:
        """Write rint(x / gamma) of each x of `block` into `out`, as float64 integers.

        `block` is used up: it holds the same integers afterwards.

        Raises:
            AggregationError: a number beyond the bound, or NaN; `block` and `out` are then as they were.
        """
        self.round_to_grid(block)
        np.copyto(out, block)

    def round_to_grid(self, block: Float32Block) -> None:
        """Make each x of `block` the integer rint(x / gamma), which float32 holds.

        Works in float32, where scaling by a power of two and rounding are exact and cost half.

        Raises:
            AggregationError: a number beyond the bound, or NaN; `block` is then as it was.
        """
        limit = self.bound * (1 + HEADROOM)
        if not (float(block.max()) <= limit and float(block.min()) >= -limit):  # NaN fails every comparison
            raise AggregationError(f"a staged number is beyond the bound {self.bound:.6g}")
        for factor in self._factors():
            np.multiply(block, factor, out=block)
        np.rint(block, out=block)

    def _factors(self) -> list[np.float32]:
        """1 / gamma as float32 powers of two: one factor, and a second for bounds so small that one would overflow."""
        exponent = 1 - math.frexp(self.gamma)[1]
        largest = min(exponent, _MAX_FLOAT32_EXPONENT)
        powers = [largest] if largest == exponent else [largest, exponent - largest]
        return [np.float32(math.ldexp(1.0, power)) for power in powers]
