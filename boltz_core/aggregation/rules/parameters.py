"""Parameters of rules, steps and server optimizers: a name, bounds, a default and a sentence.

Nothing is clamped: a value outside its bounds is refused with both.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from boltz_core.rounds.policy import PolicyError

Value: TypeAlias = int | float | str | None
Values: TypeAlias = Mapping[str, Value]
SEED_HEX_DIGITS = 64


class PlanError(PolicyError):
    """A rule, step or parameter that does not exist, or a value or combination that cannot be. Code: invalid_policy."""


@dataclass(frozen=True)
class Parameter:
    """A number from `least` to `most`. `default` None means that it follows from the data, as `meaning` says."""

    name: str
    meaning: str
    least: float
    most: float
    default: float | None
    whole: bool = False

    def read(self, value: Value) -> Value:
        """The value as it is used.

        Raises:
            PlanError: not a number of this kind, or outside the bounds.
        """
        if value is None and self.default is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            kind = "whole number" if self.whole else "number"
            raise PlanError(f"{self.name} is {value!r}; it must be a {kind}")
        if not (math.isfinite(value) and self.least <= value <= self.most):
            raise PlanError(f"{self.name} is {value}; it must be from {self.least} to {self.most}")
        return value if self.whole else float(value)


@dataclass(frozen=True)
class Seed:
    """32 bytes in hexadecimal digits, which must be given: they are recorded, so that a replay draws the same."""

    name: str
    meaning: str
    default: None = None

    def read(self, value: Value) -> Value:
        """The seed, in lower case.

        Raises:
            PlanError: not 64 hexadecimal digits.
        """
        digits = value.lower() if isinstance(value, str) else ""
        if len(digits) != SEED_HEX_DIGITS or set(digits) - set("0123456789abcdef"):
            raise PlanError(f"{self.name} must be given, as {SEED_HEX_DIGITS} hexadecimal digits")
        return digits


def read_parameters(declared: Iterable[Parameter | Seed], given: Values, *, of: str) -> Values:
    """The values of all declared parameters: the given one, or the default.

    Raises:
        PlanError: a name that is not declared, or a value that cannot be.
    """
    by_name = {parameter.name: parameter for parameter in declared}
    for name in given:
        if name not in by_name:
            raise PlanError(f"{of} has no parameter {name!r}; it has {', '.join(by_name) or 'none'}")
    return MappingProxyType(
        {name: parameter.read(given.get(name, parameter.default)) for name, parameter in by_name.items()}
    )
