"""Rounds of a `robust` model with made updates: weights, evidence and reputations as the server would have them.

An honest update is a share of the direction that all have in common, and noise of its own. Nothing is trained: what an
attack does to trust and weight depends on how updates point, and that is given here.
"""

from dataclasses import dataclass

import numpy as np

from boltz_core.trust.directions import clipped_gram, leave_one_out_cosines
from boltz_core.trust.evidence import Evidence, Observation, judge_round
from boltz_core.trust.reputation import Reputation, TrustEvent, after_idle, record, trust_score
from boltz_core.trust.standing import Standing
from boltz_core.trust.weights import WeightDecision, decide_weights

PARAMETERS = 64
HONEST = tuple(f"honest-{i:02}" for i in range(20))


@dataclass(frozen=True)
class PlayedRound:
    """What came out of one round."""

    evidence: dict[str, Evidence]
    shares: dict[str, float]
    decision: WeightDecision


class TrustWorld:
    """The reputations of all clients, through the rounds that are played."""

    def __init__(self, *, seed=0, signal=1.0, organisations=None):
        self.random = np.random.default_rng(seed)
        self.signal = signal
        self.number = 0
        self._organisations = organisations or {}
        self._reputations = {}

    def reputation(self, name):
        return after_idle(self._reputations.get(name, Reputation()), through_round=self.number)

    def trust(self, name):
        return trust_score(self.reputation(name))

    def direction(self):
        """What honest updates have in common this round: unit length, another one each round."""
        return np.random.default_rng(self.number).normal(size=PARAMETERS) / np.sqrt(PARAMETERS)

    def honest_update(self):
        """An update of length about sqrt(1 + signal^2); with signal 1 two honest ones have a cosine of about 1/2."""
        noise = self.random.normal(size=PARAMETERS) / np.sqrt(PARAMETERS)
        return self.signal * self.direction() + noise

    def honest_updates(self, names=HONEST):
        return {name: self.honest_update() for name in names}

    def attack(self, size=1.0):
        """The opposite of what the honest have in common."""
        return -size * (self.direction() + 0.05 * self.random.normal(size=PARAMETERS) / np.sqrt(PARAMETERS))

    def play(self, updates):
        """One round of these updates; everybody else is idle."""
        names = sorted(updates)
        rows = np.array([updates[name] for name in names])
        gram = rows @ rows.T
        gram = (gram + gram.T) / 2
        decision = decide_weights([self._standing(name) for name in names], gram, mode="robust")
        shares = [member.share for member in decision.members]
        judged = judge_round(self._observations(names, gram, shares), mode="robust")
        self.number += 1
        for name, one in zip(names, judged, strict=True):
            event = TrustEvent(self.number, one.evidence)
            self._reputations[name] = record(self._reputations.get(name, Reputation()), event)
        return PlayedRound(dict(zip(names, judged, strict=True)), dict(zip(names, shares, strict=True)), decision)

    def play_honest(self, rounds, names=HONEST):
        return [self.play(self.honest_updates(names)) for _ in range(rounds)]

    def _standing(self, name):
        known = self.reputation(name)
        return Standing(name, trust_score(known), known.rounds, 1.0, organisation=self._organisations.get(name))

    @staticmethod
    def _observations(names, gram, shares):
        norms = np.sqrt(np.diagonal(gram))
        cosines = leave_one_out_cosines(clipped_gram(gram, clip_norm=float(np.median(norms))), shares)
        return [Observation(*row) for row in zip(names, norms.tolist(), cosines, strict=True)]
