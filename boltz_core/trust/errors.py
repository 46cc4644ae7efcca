"""What goes wrong in here. All input is what we measured or recorded ourselves, so a wrong one is our fault."""

import math
from collections.abc import Sequence

from boltz_protocol.errors import NotNowError, ServerFaultError


class TrustError(ServerFaultError):
    """Numbers that sound ingest and bookkeeping cannot have given: the message says which and what would be right."""


class NoWeightError(NotNowError):
    """A round in which nobody has any weight: every quality is 0, or operators have set everybody to 0."""


def require_share(name: str, value: float) -> None:
    """Refuse what is not a number in [0, 1].

    Raises:
        TrustError: NaN, infinite, below 0 or above 1.
    """
    if not 0 <= value <= 1:
        raise TrustError(f"{name} is {value}; it must be from 0 to 1")


def require_not_negative(name: str, values: Sequence[float]) -> None:
    """Refuse what is not a list of finite numbers of at least 0, as norms and weights are.

    Raises:
        TrustError: one that is NaN, infinite or negative.
    """
    for value in values:
        if not 0 <= value < math.inf:
            raise TrustError(f"{name} {value} is not a finite number of at least 0")
