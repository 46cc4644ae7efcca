"""Which updates are suspicious: several scores, each calibrated against history, none trusted alone.

A malicious update can look *more* typical than honest ones on any one score, so scores are not averaged. Each becomes
an empirical p-value against the same score of updates accepted before, and what counts is the smallest of them times
their number, as Bonferroni has it: a chance of at most that for an honest update, whatever the scores have to do with
each other. That is a rate over many rounds: updates of one round share its direction and its last step, so honest ones
are held several at once more often than chance alone would have it.

What to expect: with n accepted updates in the history no p-value is below 1 / (n + 1), so a threshold t needs more than
(number of scores) / t of them before one score alone can reach it; for a two-sided score twice as many. Until then
`OutlierDecision.smallest_possible` says so, and only exact duplicates are held.

`robust` mode only; elsewhere nothing is held back by its scores (modes.py).

Source: empirical p-values with add-one smoothing, Phipson and Smyth 2010.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from boltz_core.trust.errors import TrustError, require_share
from boltz_core.trust.modes import Use, require
from boltz_core.trust.robust_scale import RobustScale
from boltz_protocol.messages import Mode

RECENT_NORMS = 200
MIN_RECENT_NORMS = 10
LOG_NORM_MAD_FLOOR = 0.01  # one percent of the norm is no difference


class Score(StrEnum):
    """The scores, by the names under which they are stored."""

    NORM = "norm"
    STEP_COSINE = "step_cosine"
    OWN_COSINE = "own_cosine"
    TENSOR_SHARES = "tensor_shares"
    SIGNS = "signs"
    KRUM = "krum"
    CLOSEST_COSINE = "closest_cosine"
    CENTRE_DISTANCE = "centre_distance"


TWO_SIDED = frozenset({Score.NORM, Score.STEP_COSINE, Score.OWN_COSINE})
IN_WORDS = {
    Score.NORM: "norm against the last accepted updates",
    Score.STEP_COSINE: "direction against the last released step",
    Score.OWN_COSINE: "direction against the client's own earlier updates",
    Score.TENSOR_SHARES: "distribution over the model's tensors",
    Score.SIGNS: "shares of positive, negative and zero numbers",
    Score.KRUM: "distance to the nearest other updates",
    Score.CLOSEST_COSINE: "likeness to another update",
    Score.CENTRE_DISTANCE: "distance to the middle of the round",
}


@dataclass(frozen=True)
class CalibratedScore:
    """One score, its p-value, and how many accepted updates that comes from."""

    score: Score
    value: float
    p_value: float
    history: int


@dataclass(frozen=True)
class OutlierDecision:
    """What the scores of one update say together.

    Attributes:
        scores: all that were calibrated, in the order of their names.
        p_value: the smallest p-value times the number of scores, at most 1.
        smallest_possible: the least that `p_value` could have been, given the history; above the threshold, nothing
            could have been found.
        duplicate_of: the update with the same bytes that came first, or None.
        suspicious: to be quarantined.
        mattered: what made it suspicious, in words, the worst first; empty when it is not.
    """

    scores: tuple[CalibratedScore, ...]
    p_value: float
    smallest_possible: float
    duplicate_of: str | None
    suspicious: bool
    mattered: tuple[str, ...]


def norm_deviation(norm: float, recent_norms: Sequence[float], *, mode: Mode) -> float | None:
    """The robust z-score of the log norm against the last accepted updates of the model.

    Args:
        norm: L2, in the units of the weights.
        recent_norms: newest last; the last 200 above 0 count.
        mode: the model's.

    Returns:
        None with fewer than 10 norms, or for an update of zeros.

    Raises:
        ModeLimitError: a mode that compares no norms.
    """
    require(mode, Use.COHORT_NORMS)
    recent = [math.log(one) for one in [one for one in recent_norms if one > 0][-RECENT_NORMS:]]
    if norm <= 0 or len(recent) < MIN_RECENT_NORMS:
        return None
    return RobustScale.of(recent, mad_floor=LOG_NORM_MAD_FLOOR).deviation(math.log(norm))


def share_distance(shares: Sequence[float], usual: Sequence[float]) -> float:
    """How differently two lists of shares are distributed, in [0, 1]: half the sum of absolute differences.

    Args:
        shares: of one update: `IngestMeasures.tensor_shares` or its signs.
        usual: the mean of accepted updates.

    Raises:
        TrustError: lists of different lengths.
    """
    if len(shares) != len(usual):
        raise TrustError(f"{len(shares)} shares cannot be compared with {len(usual)}")
    return min(1.0, math.fsum(abs(one - other) for one, other in zip(shares, usual, strict=True)) / 2)


def p_value(value: float, history: Sequence[float], *, two_sided: bool) -> float:
    """The share of accepted updates that were as extreme, add-one smoothed: never 0, and 1 without history.

    One-sided, large is extreme; two-sided, twice the smaller of both sides, at most 1.

    Args:
        value: the score.
        history: the same score of updates accepted before, rising; not NaN.
        two_sided: whether small values are extreme too.

    Raises:
        TrustError: a value that is NaN.
    """
    if math.isnan(value):
        raise TrustError("a score is not a number")
    above = (1 + len(history) - bisect_left(history, value)) / (1 + len(history))
    below = (1 + bisect_right(history, value)) / (1 + len(history))
    return min(1.0, 2 * min(above, below)) if two_sided else above


def judge_scores(
    values: Mapping[Score, float],
    history: Mapping[Score, Sequence[float]],
    *,
    threshold: float,
    mode: Mode,
    duplicate_of: str | None = None,
) -> OutlierDecision:
    """Decide whether an update is suspicious.

    Args:
        values: the scores that exist for the update; it is judged by these.
        history: for each of them the values of updates accepted before, in any order.
        threshold: the policy's: the share of honest updates that may be held by mistake; in [0, 1].
        mode: the model's.
        duplicate_of: an earlier update with the same digest, from another client or round; such a one is suspicious
            whatever its scores are.

    Raises:
        ModeLimitError: a mode in which scores decide nothing.
        TrustError: a threshold that is no share, or a score that is not a number.
    """
    require(mode, Use.OWN_SCORES)
    require(mode, Use.SCORE_HISTORY)
    require_share("threshold", threshold)
    scores = tuple(_calibrate(score, values[score], history.get(score, ())) for score in sorted(values))
    tests = len(scores)
    combined = min([1.0, *(tests * one.p_value for one in scores)])
    least = min([1.0, *(tests * _least_p_value(one) for one in scores)])
    found = sorted((one for one in scores if tests * one.p_value <= threshold), key=lambda one: one.p_value)
    mattered = tuple(_in_words(one) for one in found)
    if duplicate_of is not None:
        mattered = (f"the same bytes as update {duplicate_of}", *mattered)
    return OutlierDecision(scores, combined, least, duplicate_of, bool(mattered), mattered)


def _calibrate(score: Score, value: float, history: Sequence[float]) -> CalibratedScore:
    found = p_value(value, sorted(history), two_sided=score in TWO_SIDED)
    return CalibratedScore(score=score, value=value, p_value=found, history=len(history))


def _least_p_value(one: CalibratedScore) -> float:
    return (2 if one.score in TWO_SIDED else 1) / (one.history + 1)


def _in_words(one: CalibratedScore) -> str:
    return f"{IN_WORDS[one.score]}: {one.value:.3g}, as extreme as {one.p_value:.2%} of {one.history} accepted updates"
