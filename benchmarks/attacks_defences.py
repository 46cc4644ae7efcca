"""What stands against the attacks: every rule of the registry, and the default pipeline with trust.

A defence combines updates, and may learn from a round once it is over. Rules run as a round runs them, through
`aggregate`, with gate and exact sums; f is left to the number of updates, a fifth. The plain mean alone has no gate in
a round, so it has none here.

The pipeline, where nobody has set anything by hand: weights from trust, with every cap, in front of weighted
nearest-neighbour mixing and a weighted trimmed mean; then the round's evidence from the Gram matrix. Beside it stands
the same without the mixing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator  # noqa: TID251 - a seeded world

from benchmarks.attacks_forged import Rows
from boltz_core.aggregation import aggregate
from boltz_core.aggregation.in_memory import aggregate_plain
from boltz_core.arrays import Float64Block, Float64Vector
from boltz_core.trust.directions import clipped_gram, leave_one_out_cosines
from boltz_core.trust.evidence import Evidence, Observation, judge_round
from boltz_core.trust.reputation import Reputation, TrustEvent, record, trust_score
from boltz_core.trust.standing import Standing
from boltz_core.trust.weights import WeightDecision, decide_weights

DEFAULT_PIPELINE = "trust > nnm > trimmed_mean"
PLAIN_MEAN = "weighted_mean"
TRUSTED_PIPELINES: Mapping[str, tuple[str, ...]] = {
    "trust > trimmed_mean": ("trimmed_mean",),
    DEFAULT_PIPELINE: ("nnm", "trimmed_mean"),
}
RULE_PIPELINES: Sequence[tuple[str, ...]] = (
    ("weighted_mean",),
    ("norm_clip", "weighted_mean"),
    ("median",),
    ("nnm", "median"),
    ("bucketing", "median"),
    ("trimmed_mean",),
    ("nnm", "trimmed_mean"),
    ("krum",),
    ("nnm", "krum"),
    ("multi_krum",),
    ("bulyan",),
    ("geometric_median",),
    ("nnm", "geometric_median"),
    ("centered_clipping",),
    ("bucketing", "centered_clipping"),
)


class Defence(Protocol):
    """Combines one update a row; what it has learned changes only in `learn`."""

    def combine(self, rows: Rows) -> Float64Vector:
        """The step that these updates make."""

    def evidence(self, rows: Rows) -> Sequence[float]:
        """What the round says of each of them, in [0, 1]."""

    def learn(self, rows: Rows) -> None:
        """A round of these updates is over."""


@dataclass(frozen=True, eq=False)
class RuleAlone:
    """A rule, with what stands in front of it, in which no client has a past."""

    steps: tuple[str, ...]
    random: Generator

    def combine(self, rows: Rows) -> Float64Vector:
        """Each call draws a seed of its own, so an attacker that tries a rule does not learn its buckets."""
        *before, rule = self.steps
        if (rule, *before) == (PLAIN_MEAN,):
            return aggregate_plain(rows, rule=rule, byzantine=None).vector
        seed = {"seed": self.random.bytes(32).hex()} if "bucketing" in before else {}
        return aggregate(rows, rule=rule, before=before, byzantine=None, parameters=seed).vector

    def evidence(self, rows: Rows) -> Sequence[float]:
        """Nobody is judged, so nothing is held against anybody."""
        return [1.0] * len(rows)

    def learn(self, rows: Rows) -> None:
        """Nothing."""


class TrustedPipeline:
    """Reputations of clients that all begin as newcomers, are of no organisation, and claim the same data."""

    def __init__(self, clients: int, steps: tuple[str, ...] = TRUSTED_PIPELINES[DEFAULT_PIPELINE]) -> None:
        self.reputations = [Reputation() for _ in range(clients)]
        *self._before, self._rule = steps
        self._round_number = 0

    def combine(self, rows: Rows) -> Float64Vector:
        """Weigh, then do what the steps say."""
        weights = [member.weight for member in self._weigh(gram_of(rows)).members]
        return aggregate(rows, rule=self._rule, before=self._before, byzantine=None, weights=weights).vector

    def evidence(self, rows: Rows) -> Sequence[float]:
        """Each update judged by the others, in the weights of the round; no evidence counts as none against it."""
        return [1.0 if one.evidence is None else one.evidence for one in self._judge(rows)]

    def learn(self, rows: Rows) -> None:
        """Add the round's evidence to the reputations."""
        self._round_number += 1
        self.reputations = [
            record(known, TrustEvent(self._round_number, one.evidence))
            for known, one in zip(self.reputations, self._judge(rows), strict=True)
        ]

    @property
    def trust(self) -> Sequence[float]:
        """Of each client, as it stands."""
        return [trust_score(known) for known in self.reputations]

    def _judge(self, rows: Rows) -> Sequence[Evidence]:
        gram = gram_of(rows)
        norms = np.sqrt(gram.diagonal())
        shares = [member.share for member in self._weigh(gram).members]
        cosines = leave_one_out_cosines(clipped_gram(gram, clip_norm=float(np.median(norms))), shares)
        observed = [Observation(str(i), *one) for i, one in enumerate(zip(norms.tolist(), cosines, strict=True))]
        return judge_round(observed, mode="robust")

    def _weigh(self, gram: Float64Block) -> WeightDecision:
        known = zip(self.trust, self.reputations, strict=True)
        standings = [Standing(str(i), trust, one.rounds, quality=1.0) for i, (trust, one) in enumerate(known)]
        return decide_weights(standings, gram, mode="robust")


def gram_of(rows: Rows) -> Float64Block:
    """Dot products of the rows, symmetric to the bit."""
    wide = rows.astype(np.float64)
    gram = wide @ wide.T
    return (gram + gram.T) / 2


def _rule_alone(steps: tuple[str, ...]) -> Callable[[int, Generator], Defence]:
    return lambda _clients, random: RuleAlone(steps, random)


def _with_trust(steps: tuple[str, ...]) -> Callable[[int, Generator], Defence]:
    return lambda clients, _random: TrustedPipeline(clients, steps)


DEFENCES: Mapping[str, Callable[[int, Generator], Defence]] = {
    **{" > ".join(steps): _rule_alone(steps) for steps in RULE_PIPELINES},
    **{name: _with_trust(steps) for name, steps in TRUSTED_PIPELINES.items()},
}
