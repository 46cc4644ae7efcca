"""The weight of each member of a `robust` round, with every step that led to it.

    weight of the member alone = g q                                              standing.py
    w_max = 2 x median of g q over the established; over all while fewer than 5 are
    near-duplicates share one weight; newcomers and organisations: caps.py

Established is who has evidence from at least 5 rounds; rounds spent waiting do not count, so nobody comes of age by
waiting. Medians leave out members of weight 0, who add nothing to the round.

Near-duplicates share the weight of the heaviest of them, in proportion to their own: a newcomer that copies somebody
takes next to nothing from it. A group that holds more than half of the established weight is what the round agrees on,
not a copy, and is left alone: simple models make honest updates that alike. An organisation counts once in that, by its
heaviest member, so one with many clients cannot pass for agreement.

After g q weights only fall, so none is above `w_max`, whatever an operator set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from boltz_core.arrays import Float64Block
from boltz_core.trust.caps import NEWCOMERS, NEWCOMERS_SHARE, ORGANISATION_SHARE, ORGANISATIONS, Capped, cap_groups
from boltz_core.trust.errors import NoWeightError, TrustError
from boltz_core.trust.modes import Use, require
from boltz_core.trust.near_duplicates import near_duplicate_groups
from boltz_core.trust.robust_scale import median
from boltz_core.trust.standing import PROBE, Standing, Step, steps_alone
from boltz_protocol.messages import Mode

ESTABLISHED_ROUNDS = 5
MIN_ESTABLISHED = 5
W_MAX_FACTOR = 2.0


@dataclass(frozen=True)
class MemberWeight:
    """Where a member's weight comes from: `steps` in order, the last one's weight is `weight`; shares sum to 1."""

    update_id: str
    steps: tuple[Step, ...]
    weight: float
    share: float


@dataclass(frozen=True)
class WeightDecision:
    """The weights of a round.

    Attributes:
        members: in the order given.
        w_max: what no weight is above.
        bootstrap: the caps that could not hold, by name; empty in a grown mesh.
        breakdown_bound: see `breakdown_bound`, for the weights as they are.
    """

    members: tuple[MemberWeight, ...]
    w_max: float
    bootstrap: tuple[str, ...]
    breakdown_bound: float


def breakdown_bound(*, w_max: float, w_median: float) -> float:
    """The share f/N of malicious clients that must not be reached: 1 / (1 + w_max / w_median).

    f of them at w_max weigh less than the others at w_median exactly below it.
    """
    return 1 / (1 + w_max / w_median)


def decide_weights(
    standings: Sequence[Standing], gram: Float64Block, *, mode: Mode, probe: float = PROBE
) -> WeightDecision:
    """Weigh the members of a frozen round. The order in which they are given changes no weight.

    Args:
        standings: one a member.
        gram: shape (n_members, n_members), float64, of their updates, in the same order.
        mode: the model's.
        probe: the least g of who is not set by an operator.

    Raises:
        ModeLimitError: the mode forbids to weigh members by each other, or an override in it.
        NoWeightError: nobody has any weight.
        TrustError: an update listed twice, or numbers that do not fit.
    """
    require(mode, Use.COHORT_WEIGHTS)
    if len({one.update_id for one in standings}) != len(standings) or len(gram) != len(standings):
        raise TrustError(
            f"{len(standings)} members, each listed once, need a Gram matrix of as many rows: {gram.shape}"
        )
    steps = [list(steps_alone(one, mode=mode, probe=probe)) for one in standings]
    alone = _weights(steps)
    if not any(alone):
        raise NoWeightError("no member of the round has any weight")
    w_max = W_MAX_FACTOR * _typical(standings, alone)
    _limit(steps, w_max)
    _merge(steps, standings, near_duplicate_groups(gram))
    capped = cap_groups(
        _weights(steps),
        newcomers=[not _established(one) for one in standings],
        organisations=[one.organisation for one in standings],
    )
    _lower(steps, capped)
    return _decision(standings, steps, w_max=w_max, bootstrap=capped.not_held)


def _established(standing: Standing) -> bool:
    return standing.rounds >= ESTABLISHED_ROUNDS


def _weights(steps: Sequence[Sequence[Step]]) -> list[float]:
    return [one[-1].weight for one in steps]


def _typical(standings: Sequence[Standing], weights: Sequence[float]) -> float:
    """The median weight of the established, or of all while there are too few."""
    weighing = [(one, weight) for one, weight in zip(standings, weights, strict=True) if weight > 0]
    established = [weight for one, weight in weighing if _established(one)]
    return median(established if len(established) >= MIN_ESTABLISHED else [weight for _, weight in weighing])


def _limit(steps: list[list[Step]], w_max: float) -> None:
    for one in steps:
        if one[-1].weight > w_max:
            one.append(Step("w_max", w_max, f"w_max is {w_max:.3g}, {W_MAX_FACTOR:.0f} x the median"))


def _merge(steps: list[list[Step]], standings: Sequence[Standing], groups: Sequence[Sequence[int]]) -> None:
    weights = _weights(steps)
    for group in groups:
        total = math.fsum(weights[i] for i in group)
        if total == 0 or _is_agreement(group, standings, weights):
            continue
        factor = max(weights[i] for i in group) / total
        for i in group:
            reason = f"nearly the same update as {len(group) - 1} more; they share one weight"
            steps[i].append(Step("near-duplicates", weights[i] * factor, reason))


def _is_agreement(group: Sequence[int], standings: Sequence[Standing], weights: Sequence[float]) -> bool:
    established = [i for i, one in enumerate(standings) if _established(one) and weights[i] > 0]
    if len(established) < MIN_ESTABLISHED:
        return False
    everywhere = _voices(established, standings, weights)
    inside = _voices([i for i in established if i in group], standings, weights)
    return inside > everywhere / 2


def _voices(members: Sequence[int], standings: Sequence[Standing], weights: Sequence[float]) -> float:
    """The weight of these members, an organisation counting as its heaviest one."""
    heaviest: dict[str | int, float] = {}
    for i in members:
        organisation = standings[i].organisation
        key = i if organisation is None else organisation
        heaviest[key] = max(heaviest.get(key, 0.0), weights[i])
    return math.fsum(heaviest.values())


def _lower(steps: list[list[Step]], capped: Capped) -> None:
    for one, weight, newcomer, organisation in zip(
        steps, capped.weights, capped.newcomer_factors, capped.organisation_factors, strict=True
    ):
        if newcomer < 1:
            reason = f"newcomers together hold at most {NEWCOMERS_SHARE:.0%}{_as_far(NEWCOMERS, capped)}"
            one.append(Step(NEWCOMERS, one[-1].weight * newcomer, reason))
        if organisation < 1:
            reason = f"an organisation holds at most {ORGANISATION_SHARE:.0%}{_as_far(ORGANISATIONS, capped)}"
            one.append(Step(ORGANISATIONS, weight, reason))


def _as_far(cap: str, capped: Capped) -> str:
    return ", as far as that can hold now" if cap in capped.not_held else ""


def _decision(
    standings: Sequence[Standing], steps: Sequence[Sequence[Step]], *, w_max: float, bootstrap: tuple[str, ...]
) -> WeightDecision:
    weights = _weights(steps)
    total = math.fsum(weights)
    members = tuple(
        MemberWeight(update_id=one.update_id, steps=tuple(taken), weight=weight, share=weight / total)
        for one, taken, weight in zip(standings, steps, weights, strict=True)
    )
    bound = breakdown_bound(w_max=max(weights), w_median=median([weight for weight in weights if weight > 0]))
    return WeightDecision(members=members, w_max=w_max, bootstrap=bootstrap, breakdown_bound=bound)
