"""What a rule is, and what a step in front of one is: small objects made of functions and sentences.

A linear rule gives coefficients, one a row, from the rows' geometry. A statistic first may pick rows, from the same,
and then makes one number of each coordinate. Steps in front turn rows into fewer or other rows, each a mean of some.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.rows import Rows
from boltz_core.aggregation.rules.parameters import Parameter, Seed, Values
from boltz_core.arrays import Float64Vector, Int64Vector

Block: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Setting:
    """What a rule is told: how many rows it has to tolerate, and its parameters."""

    byzantine: int
    parameters: Values

    def number(self, name: str) -> float:
        """A parameter that always has a value."""
        return float(self.parameters[name] or 0.0)

    def count(self, name: str, default: int) -> int:
        """A whole parameter, or what it is where the policy leaves it to the data."""
        value = self.parameters[name]
        return default if value is None else int(value)


@dataclass(frozen=True)
class Condition:
    """At least `per_byzantine` * f + `more` rows."""

    per_byzantine: int
    more: int

    def least(self, byzantine: int) -> int:
        """The least number of rows for so many Byzantine ones."""
        return self.per_byzantine * byzantine + self.more

    def __str__(self) -> str:
        return f"n >= {self.per_byzantine}f + {self.more}" if self.per_byzantine else f"n >= {self.more}"


Kappa: TypeAlias = Callable[[int, int], float]


@dataclass(frozen=True)
class Rule:
    """A rule, complete with what it needs and what it promises.

    `kappa(n, f)` bounds the squared error by kappa times the variance of the honest rows, with equal weights
    (Allouah et al. 2023, arXiv:2302.01772, Definition 2); None where no such bound is known.
    """

    name: str
    condition: Condition
    tolerates: str
    source: str
    parameters: tuple[Parameter, ...] = ()
    kappa: Kappa | None = None
    weighted: bool = False
    needs_geometry: bool = False
    coefficients: Callable[[Rows, Setting], Float64Vector] | None = None
    pick: Callable[[Rows, Setting], list[int]] | None = None
    statistic: Callable[[Block, Int64Vector | None, Setting], Float64Vector] | None = None

    @property
    def kind(self) -> str:
        """`linear`: coefficients for whole rows; `statistic`: a number from each coordinate."""
        return "linear" if self.coefficients else "statistic"

    def of_lines(self, lines: Block, weights: Int64Vector | None, setting: Setting) -> Float64Vector:
        """The statistic of each line of a block of shape (coordinates, rows), which is used up.

        Raises:
            AggregationError: a linear rule has none.
        """
        if self.statistic is None:
            raise AggregationError(f"{self.name} is a linear rule")
        return self.statistic(lines, weights, setting)


@dataclass(frozen=True)
class Step:
    """What stands in front of a rule: makes rows of rows, `rows_after` of them."""

    name: str
    condition: Condition
    tolerates: str
    source: str
    parameters: tuple[Parameter | Seed, ...]
    mix: Callable[[Rows, Setting], Rows]
    rows_after: Callable[[int, Values], int]
    weighted: bool = False
    needs_geometry: bool = False
