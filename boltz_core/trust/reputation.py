"""Trust as a beta reputation: credit and debt on top of a prior, read at a lower confidence bound.

A newcomer starts at the prior, whose low score means "unknown", not "bad"; `label` says so in a word.

Source: design of the beta reputation system, Josang and Ismail 2002, with a one-sigma lower bound.
"""

import math
from dataclasses import dataclass

PRIOR_CREDIT = 1.0
PRIOR_DEBT = 3.0
LOW_TRUST = 0.2
FULL_TRUST = 0.8


@dataclass(frozen=True)
class Reputation:
    """What a client has earned: decayed sums of good and bad evidence, and the rounds they come from."""

    credit: float = 0.0
    debt: float = 0.0
    rounds: int = 0


def trust_score(reputation: Reputation) -> float:
    """The lower confidence bound of the client's reliability, in [0, 1).

    max(0, m - sd) with a = 1 + credit, b = 3 + debt, m = a / (a + b), sd = sqrt(m (1 - m) / (a + b + 1)).

    Raises:
        ValueError: negative or not finite credit or debt.
    """
    credit, debt = reputation.credit, reputation.debt
    if not (math.isfinite(credit) and math.isfinite(debt) and credit >= 0 and debt >= 0):
        raise ValueError(f"credit and debt are finite and not negative; got {credit} and {debt}")
    evidence = PRIOR_CREDIT + credit + PRIOR_DEBT + debt
    mean = (PRIOR_CREDIT + credit) / evidence
    return max(0.0, mean - math.sqrt(mean * (1 - mean) / (evidence + 1)))


def label(reputation: Reputation) -> str:
    """One word for people: `new` at the prior, else `low`, `building` or `trusted`."""
    if reputation.credit == 0 and reputation.debt == 0:
        return "new"
    score = trust_score(reputation)
    if score < LOW_TRUST:
        return "low"
    return "trusted" if score >= FULL_TRUST else "building"
