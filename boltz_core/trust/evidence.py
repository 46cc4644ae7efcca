"""What one round says about each client that took part: a number in [0, 1], its factors, and why, in words.

    v  1; an update that fails behind the door (schema, finite, hard norm bound) is no member of the round: `violation`
    n  1 if the raw norm is at most 4 x the median, else 0
    c  how the update points compared with the others' weighted mean, one-sided, within the round
    h  what the update does to the loss on held-out data, one-sided, within the round; where there is such data
    e = v n x geometric mean of those of c, h that exist; neither of them, or norm 0: no evidence

c and h are judged against the round, not against a constant: near convergence honest updates point away from each
other, and absolute cosines would punish everybody. Fewer than three values have no middle to be far from; then there is
no c, or no h.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from boltz_core.trust.errors import TrustError, require_not_negative
from boltz_core.trust.modes import Use, require
from boltz_core.trust.reputation import negative_part, positive_part
from boltz_core.trust.robust_scale import RobustScale, median
from boltz_protocol.messages import Mode

MAX_NORM_RATIO = 4.0
COSINE_MAD_FLOOR = 0.05
GAIN_MAD_FLOOR = 0.001  # a thousandth of the held-out loss is no difference
MIN_COMPARED = 3


@dataclass(frozen=True)
class Observation:
    """What a round measured of one member.

    Attributes:
        update_id: of the update.
        norm: L2, before any clipping, in the units of the weights.
        cosine: from `directions.leave_one_out_cosines`; None where there is none.
        gain: (loss before - loss with the update alone) / loss before, on held-out data; None where nobody computed it.
            Below -1, infinity too, counts as -1.
    """

    update_id: str
    norm: float
    cosine: float | None = None
    gain: float | None = None


@dataclass(frozen=True)
class Comparison:
    """One value of a member against the round.

    Attributes:
        value: what was measured.
        middle: the round's median.
        deviation: robust z-score of the value.
        factor: clip(.8 + .2 min(0, z + 2), 0, 1).
    """

    value: float
    middle: float
    deviation: float
    factor: float


@dataclass(frozen=True)
class Evidence:
    """The evidence of one round about one client, with the formula filled in.

    Attributes:
        update_id: of the update.
        valid: v.
        norm_ratio: the norm over the round's median; None without a median.
        norm_holds: n; None where norms of others were not looked at.
        direction, gain: c and h with what they come from; None where they do not exist.
        evidence: e, or None.
        reasons: why e is what it is, for people; the client may read them.
    """

    update_id: str
    valid: bool
    norm_ratio: float | None
    norm_holds: bool | None
    direction: Comparison | None
    gain: Comparison | None
    evidence: float | None
    reasons: tuple[str, ...]

    @property
    def positive(self) -> float:
        """What it adds to the credit."""
        return 0.0 if self.evidence is None else positive_part(self.evidence)

    @property
    def negative(self) -> float:
        """What it adds to the debt before that is tripled."""
        return 0.0 if self.evidence is None else negative_part(self.evidence)


def violation(update_id: str, reason: str) -> Evidence:
    """The evidence of an update that failed behind the door: v = 0. `reason` is the rejection's, for people."""
    return Evidence(update_id, False, None, None, None, None, 0.0, (f"refused: {reason}",))


def judge_valid(update_id: str) -> Evidence:
    """What a `private` or `masked` round says of an accepted update: v is 1, and that alone is no evidence."""
    return Evidence(update_id, True, None, None, None, None, None, ("accepted; this mode compares nothing",))


def judge_round(observations: Sequence[Observation], *, mode: Mode) -> tuple[Evidence, ...]:
    """The evidence about each member of a frozen round, in the order given; the order changes no number.

    Raises:
        ModeLimitError: the mode forbids to compare updates.
        TrustError: an update listed twice, a norm that is negative or not finite, a cosine outside [-1, 1], a gain
            above 1 or NaN.
    """
    require(mode, Use.COHORT_NORMS)
    require(mode, Use.COHORT_DIRECTIONS)
    require(mode, Use.COHORT_GAINS)
    _check(observations)
    sent = [one for one in observations if one.norm > 0]
    middle_norm = math.exp(median([math.log(one.norm) for one in sent])) if sent else None
    directions = _scale([one.cosine for one in sent if one.cosine is not None], COSINE_MAD_FLOOR)
    gains = _scale([max(-1.0, one.gain) for one in sent if one.gain is not None], GAIN_MAD_FLOOR)
    return tuple(_judge(one, middle_norm, directions, gains) for one in observations)


def _judge(
    one: Observation, middle_norm: float | None, directions: RobustScale | None, gains: RobustScale | None
) -> Evidence:
    if one.norm == 0 or middle_norm is None:
        return Evidence(one.update_id, True, None, None, None, None, None, ("an update of zeros says nothing",))
    ratio = one.norm / middle_norm
    holds = math.log(one.norm) - math.log(middle_norm) <= math.log(MAX_NORM_RATIO)
    direction = _compare(one.cosine, directions)
    gain = _compare(one.gain if one.gain is None else max(-1.0, one.gain), gains)
    factors = [part.factor for part in (direction, gain) if part is not None]
    evidence = None if not factors else float(holds) * math.prod(factors) ** (1 / len(factors))
    reasons = _reasons(ratio, holds=holds, direction=direction, gain=gain)
    return Evidence(one.update_id, True, ratio, holds, direction, gain, evidence, reasons)


def _compare(value: float | None, scale: RobustScale | None) -> Comparison | None:
    if value is None or scale is None:
        return None
    deviation = scale.deviation(value)
    factor = min(1.0, max(0.0, 0.8 + 0.2 * min(0.0, deviation + 2)))
    return Comparison(value=value, middle=scale.middle, deviation=deviation, factor=factor)


def _scale(values: list[float], mad_floor: float) -> RobustScale | None:
    return RobustScale.of(values, mad_floor=mad_floor) if len(values) >= MIN_COMPARED else None


def _reasons(ratio: float, *, holds: bool, direction: Comparison | None, gain: Comparison | None) -> tuple[str, ...]:
    norm = f"norm {ratio:.2g} x the median" + ("" if holds else f", more than {MAX_NORM_RATIO:.0f} x")
    parts = [norm]
    parts.append("too few others to compare directions" if direction is None else _in_words("cosine", direction))
    if gain is not None:
        parts.append(_in_words("held-out gain", gain))
    return tuple(parts)


def _in_words(name: str, part: Comparison) -> str:
    side = "below" if part.deviation < 0 else "above"
    return (
        f"{name} {part.value:.3g}, {abs(part.deviation):.1f} robust deviations {side} the round's median "
        f"{part.middle:.3g}: {part.factor:.2g}"
    )


def _check(observations: Sequence[Observation]) -> None:
    if len({one.update_id for one in observations}) != len(observations):
        raise TrustError("an update is listed twice")
    require_not_negative("norm", [one.norm for one in observations])
    for one in observations:
        if one.cosine is not None and not -1 <= one.cosine <= 1:
            raise TrustError(f"the cosine of {one.update_id} is {one.cosine}; it must be from -1 to 1")
        if one.gain is not None and not one.gain <= 1:
            raise TrustError(f"the gain of {one.update_id} is {one.gain}; it must be a number of at most 1")
