"""Trust as a beta reputation: credit and debt on top of a prior, read at a lower confidence bound.

A reputation is a fold over one client's `TrustEvent`s, in the order of their rounds. Nothing else changes it, no
nightly job either: rounds without an event are seen in the numbers of those that have one. Rounds are numbered in one
sequence; which one that is where a client takes part in several models is for the caller to say.

The fold uses +, -, *, / and sqrt only, which IEEE 754 rounds the same on every processor; `pow` and `exp` are not among
them, so decay over n rounds is n multiplications. That also makes it the same whether n rounds pass at once or in
parts: events folded one by one as they come, or all again, give the same bits.

A newcomer starts at the prior, whose low score means "unknown", not "bad"; `label` says so in a word.

Source: design of the beta reputation system, Josang and Ismail 2002, with a one-sigma lower bound.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from boltz_core.trust.errors import TrustError, require_share

PRIOR_CREDIT = 1.0
PRIOR_DEBT = 3.0
LOW_TRUST = 0.2
FULL_TRUST = 0.8

CREDIT_DECAY = 0.9771599684342459  # 2^(-1/30): half is left after 30 rounds
DEBT_DECAY = 0.9923279462629435  # 2^(-1/90)
DEBT_FACTOR = 3.0
HARD_VIOLATION_DEBT = 10.0
NEGLIGIBLE = 2.0**-60  # credit below this becomes 0, so that the decay of any number of rounds ends


@dataclass(frozen=True)
class TrustEvent:
    """What one round says about one client.

    Attributes:
        round_number: counted from 1.
        evidence: in [0, 1], from `evidence.judge_round`; None where the round said nothing.
        hard_violation: an update of the client failed behind the door (schema, finite, hard norm bound). Evidence is
            then 0, whatever else the round says. What the door refuses (signature, replay, late, wrong base) is no
            event at all: anyone could send it in another's name.

    Raises:
        TrustError: a round below 1, or evidence outside [0, 1].
    """

    round_number: int
    evidence: float | None
    hard_violation: bool = False

    def __post_init__(self) -> None:
        if self.round_number < 1:
            raise TrustError(f"round {self.round_number}: rounds are counted from 1")
        if self.evidence is not None:
            require_share("evidence", self.evidence)

    @property
    def counted_evidence(self) -> float | None:
        """The evidence that counts: 0 in a round with a hard violation."""
        return 0.0 if self.hard_violation else self.evidence


@dataclass(frozen=True)
class Reputation:
    """What a client has earned: decayed sums of good and bad evidence, and the rounds they come from.

    Attributes:
        credit, debt: decayed sums, at the end of `last_round`.
        rounds: how many rounds had evidence.
        last_round: the round up to which decay has been counted; 0 before the first.
    """

    credit: float = 0.0
    debt: float = 0.0
    rounds: int = 0
    last_round: int = 0


def positive_part(evidence: float) -> float:
    """What evidence adds to the credit, in [0, 1]: clip((e - .5) / .3, 0, 1)."""
    return min(1.0, max(0.0, (evidence - 0.5) / 0.3))


def negative_part(evidence: float) -> float:
    """What evidence adds to the debt before it is tripled, in [0, 1]: clip((.4 - e) / .4, 0, 1)."""
    return min(1.0, max(0.0, (0.4 - evidence) / 0.4))


def after_idle(reputation: Reputation, *, through_round: int) -> Reputation:
    """The reputation at the end of `through_round`, nothing having happened since: credit decays, debt stays.

    Raises:
        TrustError: a round that is over already.
    """
    missed = through_round - reputation.last_round
    if missed < 0:
        raise TrustError(f"round {through_round} is over; the reputation is that after round {reputation.last_round}")
    return replace(reputation, credit=_decayed_credit(reputation.credit, missed), last_round=through_round)


def record(reputation: Reputation, event: TrustEvent) -> Reputation:
    """The reputation after one more event.

    A round without evidence counts as missed. If debt decayed in it, updates of zeros, which say nothing, would be a
    way to wait until a debt is gone.

    Raises:
        TrustError: the event's round is counted already, or comes before one that is.
    """
    if event.round_number <= reputation.last_round:
        raise TrustError(
            f"round {event.round_number} comes after round {reputation.last_round}; a round counts once, in its order"
        )
    evidence = event.counted_evidence
    if evidence is None:
        return after_idle(reputation, through_round=event.round_number)
    before = after_idle(reputation, through_round=event.round_number - 1)
    violation = HARD_VIOLATION_DEBT if event.hard_violation else 0.0
    return Reputation(
        credit=_decayed_credit(before.credit, 1) + positive_part(evidence),
        debt=before.debt * DEBT_DECAY + DEBT_FACTOR * negative_part(evidence) + violation,
        rounds=before.rounds + 1,
        last_round=event.round_number,
    )


def fold(events: Iterable[TrustEvent], *, through_round: int | None = None) -> Reputation:
    """The reputation that these events of one client make, in whatever order they are given.

    Args:
        events: one a round; one that is there several times counts once.
        through_round: the last round that is over; None for that of the last event.

    Raises:
        TrustError: two events of one round that differ, or an event after `through_round`.
    """
    reputation = Reputation()
    for event in _in_order(events):
        reputation = record(reputation, event)
    return reputation if through_round is None else after_idle(reputation, through_round=through_round)


def trust_score(reputation: Reputation) -> float:
    """The lower confidence bound of the client's reliability, in [0, 1).

    max(0, m - sd) with a = 1 + credit, b = 3 + debt, m = a / (a + b), sd = sqrt(m (1 - m) / (a + b + 1)).

    Raises:
        TrustError: negative or not finite credit or debt.
    """
    credit, debt = reputation.credit, reputation.debt
    if not (math.isfinite(credit) and math.isfinite(debt) and credit >= 0 and debt >= 0):
        raise TrustError(f"credit and debt are finite and not negative; got {credit} and {debt}")
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


def _in_order(events: Iterable[TrustEvent]) -> list[TrustEvent]:
    by_round: dict[int, TrustEvent] = {}
    for event in events:
        known = by_round.setdefault(event.round_number, event)
        if known != event:
            raise TrustError(f"round {event.round_number} has two events that differ: {known} and {event}")
    return [by_round[number] for number in sorted(by_round)]


def _decayed_credit(credit: float, rounds: int) -> float:
    for _ in range(rounds):
        if credit == 0:
            break
        credit *= CREDIT_DECAY
        if credit < NEGLIGIBLE:
            credit = 0.0
    return credit
