"""How far numbers lie from the middle of their group, on a scale that fewer than half of them cannot move at will."""

from collections.abc import Sequence
from dataclasses import dataclass

NORMAL_MAD = 1.4826  # the standard deviation of a normal distribution, in units of its MAD


@dataclass(frozen=True)
class RobustScale:
    """The median of a group, and a spread that reads like a standard deviation.

    Source: the median absolute deviation, Hampel 1974.
    """

    middle: float
    spread: float

    @classmethod
    def of(cls, values: Sequence[float], *, mad_floor: float) -> "RobustScale":
        """Measure a group.

        Args:
            values: finite, at least one.
            mad_floor: above 0, in the units of the values; differences of this size count as none.
        """
        middle = median(values)
        deviation = median([abs(value - middle) for value in values])
        return cls(middle=middle, spread=NORMAL_MAD * max(deviation, mad_floor))

    def deviation(self, value: float) -> float:
        """The robust z-score of a value."""
        return (value - self.middle) / self.spread


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle; of at least one."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half])
