"""What a mode lets trust look at. Everything in this package that sees another client's update asks here first.

- `robust`: everything.
- `private`: an update's part in the sum may depend on that update and on released state alone, or the sum's
  sensitivity is not what the noise was made for (Dwork et al. 2006). Bounds are constants of the policy.
- `masked`: the server sees sums only, so there is nothing to look at but the form of what arrived.
"""

from enum import StrEnum

from boltz_core.rounds.policy import PolicyError
from boltz_protocol.messages import Mode


class Use(StrEnum):
    """Something that evidence, weights or outlier scores would look at."""

    VALIDITY = "validity"
    COHORT_NORMS = "cohort norms"
    COHORT_DIRECTIONS = "cohort directions"
    COHORT_GAINS = "cohort gains"
    COHORT_WEIGHTS = "cohort weights"
    OWN_WEIGHT = "own weight"
    OWN_SCORES = "own scores"
    SCORE_HISTORY = "score history"
    OVERRIDE_BEFORE_OPENING = "override before opening"
    OVERRIDE_AFTER_OPENING = "override after opening"
    RELEASE = "release of a quarantined update"


class ModeLimitError(PolicyError):
    """Something that the model's mode rules out, whatever else is true. Code: invalid_policy."""


ALLOWED: dict[Mode, frozenset[Use]] = {
    "robust": frozenset(Use),
    "private": frozenset({Use.VALIDITY, Use.OWN_WEIGHT, Use.OVERRIDE_BEFORE_OPENING}),
    "masked": frozenset({Use.VALIDITY}),
}

_OTHERS_COUNT = "one client's update would decide about another's, and the sum would vary by more than the noise covers"
_ONE_VALUE = "bounds are constants of the policy here, and what passes them is in: nothing is held back by its scores"
_WHY_NOT_PRIVATE: dict[Use, str] = {
    Use.COHORT_NORMS: _OTHERS_COUNT,
    Use.COHORT_DIRECTIONS: _OTHERS_COUNT,
    Use.COHORT_GAINS: _OTHERS_COUNT,
    Use.COHORT_WEIGHTS: _OTHERS_COUNT,
    Use.OWN_SCORES: _ONE_VALUE,
    Use.SCORE_HISTORY: _OTHERS_COUNT,
    Use.OVERRIDE_AFTER_OPENING: "whoever sets it may have seen updates; weights must be fixed before them",
    Use.RELEASE: "a person who looked at an update would decide whether it counts",
}
_WHY_NOT_MASKED = "the server sees sums only, never one client's update"


def require(mode: Mode, use: Use) -> None:
    """Go on only where the mode allows this use.

    Raises:
        ModeLimitError: it does not; the message says why.
    """
    if use in ALLOWED[mode]:
        return
    reason = _WHY_NOT_MASKED if mode == "masked" else _WHY_NOT_PRIVATE[use]
    raise ModeLimitError(f"{use.value}: not in mode {mode!r}; {reason}")
