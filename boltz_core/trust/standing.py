"""What a client weighs by itself, before anybody else is looked at: g q.

    g = max(clip((trust - .2) / .6, 0, 1), probe), or what an operator set        a newcomer can earn: probe > 0
    q = data quality (quality.py)

`private` rounds go no further: `own_weight` is given one client and a constant of the policy, so that no other client's
update can reach the weight. In `masked` rounds the server weighs nothing.
"""

from dataclasses import dataclass

from boltz_core.trust.errors import TrustError, require_share
from boltz_core.trust.modes import Use, require
from boltz_core.trust.overrides import Override
from boltz_core.trust.reputation import FULL_TRUST, LOW_TRUST
from boltz_protocol.messages import Mode

PROBE = 0.05


@dataclass(frozen=True)
class Standing:
    """What a member brings into the round.

    Attributes:
        update_id: of its update.
        trust: from `reputation.trust_score`, at the round's base.
        rounds: rounds with evidence so far, from its `Reputation`.
        quality: from `quality.data_quality`.
        organisation: whose client it is; None counts for itself.
        override: what an operator set, if it holds now.
    """

    update_id: str
    trust: float
    rounds: int
    quality: float
    organisation: str | None = None
    override: Override | None = None


@dataclass(frozen=True)
class Step:
    """One thing that changed a weight: its name, the weight after it, and why, in words."""

    name: str
    weight: float
    reason: str


def trust_factor(trust: float, *, probe: float = PROBE) -> float:
    """The factor g = max(clip((trust - .2) / .6, 0, 1), probe).

    Raises:
        TrustError: trust or probe outside [0, 1].
    """
    require_share("trust", trust)
    require_share("probe", probe)
    return max(probe, min(1.0, max(0.0, (trust - LOW_TRUST) / (FULL_TRUST - LOW_TRUST))))


def steps_alone(standing: Standing, *, mode: Mode, probe: float = PROBE) -> tuple[Step, ...]:
    """The steps from trust to g q; the last one's weight is g q.

    Raises:
        ModeLimitError: an override that the mode does not allow.
        TrustError: a number outside [0, 1], or a negative number of rounds.
    """
    if standing.rounds < 0:
        raise TrustError(f"{standing.update_id} has evidence from {standing.rounds} rounds; 0 is the least")
    require_share("quality", standing.quality)
    g = trust_factor(standing.trust, probe=probe)
    steps = [Step("trust", g, f"trust {standing.trust:.3g}")]
    if standing.override is not None:
        g = standing.override.apply(g, mode=mode)
        steps.append(Step("override", g, standing.override.in_words()))
    return (*steps, Step("quality", g * standing.quality, f"data quality {standing.quality:.3g}"))


def own_weight(standing: Standing, *, mode: Mode, w_max: float, probe: float = PROBE) -> tuple[Step, ...]:
    """The steps to a member's weight in a round whose mode lets nobody look at another: min(g q, w_max).

    Args:
        standing: of the one member.
        mode: the model's.
        w_max: a constant of the policy, fixed before the round opens; above 0.
        probe: the least g; a constant of the policy too.

    Raises:
        ModeLimitError: a masked round, or an override set after the round opened.
        TrustError: as `steps_alone`, or no `w_max`.
    """
    require(mode, Use.OWN_WEIGHT)
    if not 0 < w_max < float("inf"):
        raise TrustError(f"w_max is {w_max}; it must be above 0")
    steps = steps_alone(standing, mode=mode, probe=probe)
    if steps[-1].weight <= w_max:
        return steps
    return (*steps, Step("w_max", w_max, f"the policy's w_max is {w_max:.3g}"))
