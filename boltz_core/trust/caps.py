"""Caps on what a group of members may hold of a round's weight, by water-filling.

Weights are only ever lowered, never lifted: what a group loses goes to the others through their shares. Two kinds:

- newcomers together hold at most 10 %: each of theirs is lowered by the same factor;
- an organisation holds at most 20 %: totals above one common level are lowered to it, as water in vessels of
  different height stands at one level.

A cap thins a crowd. It never takes newcomers below the heaviest of them, nor an organisation below the heaviest member
of the round: nobody of little trust inherits the round because everybody else is capped. Where that is not enough
(everybody is new; two organisations) the cap cannot hold. It is then applied as far as that limit, and named in
`not_held`.

Sums are taken with `math.fsum`: the order of the members does not change a bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

NEWCOMERS_SHARE = 0.1
ORGANISATION_SHARE = 0.2
NEWCOMERS = "newcomers"
ORGANISATIONS = "organisations"
HOLDS_WITHIN = 1e-9
ROUNDING = 1e-12
SETTLED = 1e-13
MAX_SWEEPS = 200


@dataclass(frozen=True)
class Capped:
    """What the caps do: weight = weight before x newcomer factor x organisation factor, one of each a member.

    `not_held` names the caps that cannot hold.
    """

    weights: tuple[float, ...]
    newcomer_factors: tuple[float, ...]
    organisation_factors: tuple[float, ...]
    not_held: tuple[str, ...]


def cap_groups(
    weights: Sequence[float],
    *,
    newcomers: Sequence[bool],
    organisations: Sequence[str | None],
    newcomers_share: float = NEWCOMERS_SHARE,
    organisation_share: float = ORGANISATION_SHARE,
) -> Capped:
    """Lower weights until both caps hold, or as far as they can.

    One cap undoes a little of the other, so they take turns until neither changes anything; each turn changes less than
    the one before, and a few do.

    Args:
        weights: one a member, not negative, one above 0.
        newcomers: who is one.
        organisations: whose member it is; None for a client of none, which counts for itself.
        newcomers_share, organisation_share: above 0 and below 1.
    """
    members = _Members.of(weights, newcomers, organisations)
    current = list(weights)
    by_newcomers, by_organisation = [1.0] * len(weights), [1.0] * len(weights)
    sweeps, settled = 0, False
    while not settled and sweeps < MAX_SWEEPS:
        new = members.newcomer_factors(current, newcomers_share)
        current, by_newcomers = _product(current, new), _product(by_newcomers, new)
        level = members.organisation_factors(current, organisation_share)
        current, by_organisation = _product(current, level), _product(by_organisation, level)
        sweeps, settled = sweeps + 1, min(new + level) > 1 - SETTLED
    capped = _product(_product(weights, by_newcomers), by_organisation)
    not_held = members.not_held(capped, newcomers_share, organisation_share)
    return Capped(tuple(capped), tuple(by_newcomers), tuple(by_organisation), not_held)


@dataclass(frozen=True)
class _Members:
    """Who belongs to which group, and below what its cap does not go."""

    newcomers: tuple[bool, ...]
    groups: tuple[tuple[int, ...], ...]
    heaviest: float
    heaviest_newcomer: float

    @classmethod
    def of(cls, weights: Sequence[float], newcomers: Sequence[bool], organisations: Sequence[str | None]) -> "_Members":
        groups: dict[str | int, list[int]] = {}
        for index, organisation in enumerate(organisations):
            groups.setdefault(index if organisation is None else organisation, []).append(index)
        new = [weight for weight, is_new in zip(weights, newcomers, strict=True) if is_new]
        return cls(tuple(newcomers), tuple(map(tuple, groups.values())), max(weights), max(new, default=0.0))

    def newcomer_factors(self, weights: Sequence[float], share: float) -> list[float]:
        held = self._held_by_newcomers(weights)
        allowed = max((math.fsum(weights) - held) * share / (1 - share), self.heaviest_newcomer)
        factor = allowed / held if held > allowed else 1.0
        return [factor if new else 1.0 for new in self.newcomers]

    def organisation_factors(self, weights: Sequence[float], share: float) -> list[float]:
        totals = self._totals(weights)
        level = max(water_level(totals, share), self.heaviest)
        factors = [1.0] * len(weights)
        for total, group in zip(totals, self.groups, strict=True):
            for i in group:
                factors[i] = level / total if total > level else 1.0
        return factors

    def not_held(self, weights: Sequence[float], newcomers_share: float, organisation_share: float) -> tuple[str, ...]:
        total = math.fsum(weights) * (1 + HOLDS_WITHIN)
        newcomers = self._held_by_newcomers(weights) > newcomers_share * total
        organisations = max(self._totals(weights)) > organisation_share * total
        return (NEWCOMERS,) * newcomers + (ORGANISATIONS,) * organisations

    def _held_by_newcomers(self, weights: Sequence[float]) -> float:
        return math.fsum(weight for weight, new in zip(weights, self.newcomers, strict=True) if new)

    def _totals(self, weights: Sequence[float]) -> list[float]:
        return [math.fsum(weights[i] for i in group) for group in self.groups]


def _product(left: Sequence[float], right: Sequence[float]) -> list[float]:
    return [a * b for a, b in zip(left, right, strict=True)]


def water_level(totals: Sequence[float], share: float) -> float:
    """The highest level L for which no min(t, L) is more than `share` of the sum of all min(t, L); 0 if there is none.

    With the k highest totals at L: L = share (sum of the others + k L), so L = share x others / (1 - share k). Where
    1 - share k is at most `share`, L is at least the next total, so the division is never by 0.
    """
    ordered = sorted(totals, reverse=True)
    for k, highest_below in enumerate(ordered):
        level = share * math.fsum(ordered[k:]) / (1 - share * k)
        if highest_below <= level * (1 + ROUNDING):
            return level
    return 0.0
