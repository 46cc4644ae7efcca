"""The behaviour table of the design: what the formulas do over many rounds."""

import numpy as np
import pytest

from boltz_core.trust.reputation import Reputation, TrustEvent, after_idle, record, trust_score
from boltz_core.trust.standing import trust_factor

STEADY_ROUNDS = 300
CYCLES = 40


def weight(reputation):
    return trust_factor(trust_score(reputation), probe=0.0)


def after(reputation, *evidence):
    for one in evidence:
        reputation = record(reputation, TrustEvent(reputation.last_round + 1, one))
    return reputation


class Honest:
    """Evidence of an honest client: clip(N(0.8, 0.12), 0, 1), seed 0."""

    def __init__(self):
        self._random = np.random.default_rng(0)

    def evidence(self):
        return float(np.clip(self._random.normal(0.8, 0.12), 0, 1))

    def rounds_to(self, trust, reputation):
        rounds = 0
        while trust_score(reputation) < trust:
            reputation = after(reputation, self.evidence())
            rounds += 1
        return rounds

    def steady(self):
        return after(Reputation(), *(self.evidence() for _ in range(STEADY_ROUNDS)))


@pytest.mark.parametrize(("trust", "rounds"), [(0.5, 6), (0.7, 17), (0.8, 32)])
def test_an_honest_newcomer_needs_so_many_rounds(trust, rounds):
    assert Honest().rounds_to(trust, Reputation()) == rounds


@pytest.mark.parametrize(("missed", "expected"), [(30, 0.98), (90, 0.47), (180, 0.0)])
def test_an_idle_client_keeps_so_much_weight(missed, expected):
    steady = Honest().steady()
    idle = after_idle(steady, through_round=steady.last_round + missed)
    assert weight(idle) == pytest.approx(expected, abs=0.005)


def test_one_hard_violation_leaves_a_weight_of_seven_tenths():
    assert weight(violated(Honest().steady())) == pytest.approx(0.70, abs=0.005)


def test_a_hard_violation_takes_56_good_rounds_to_live_down():
    honest = Honest()
    assert honest.rounds_to(0.7, violated(honest.steady())) == 56


def violated(reputation):
    return record(reputation, TrustEvent(reputation.last_round + 1, None, hard_violation=True))


def best_on_off_weight(step):
    """The long-run weight of the attacks of the best pattern of good and bad rounds, after 60 good ones."""
    return max(on_off_weight(step, good, bad) for good in range(1, 9) for bad in range(1, 6))


def on_off_weight(step, good, bad):
    state = Reputation()
    for _ in range(60):
        state = step(state, 0.8)
    influence = 0.0
    for _ in range(CYCLES):
        for _ in range(good):
            state = step(state, 0.8)
        for _ in range(bad):
            influence += weight(state)
            state = step(state, 0.0)
    return influence / (CYCLES * (good + bad))


def plain_beta(reputation, evidence):
    """A beta reputation without the asymmetry: good and bad count alike and are forgotten alike."""
    decay = 2 ** (-1 / 30)
    good, bad = (1.0, 0.0) if evidence > 0.5 else (0.0, 1.0)
    return Reputation(reputation.credit * decay + good, reputation.debt * decay + bad)


def test_the_best_on_off_attacker_keeps_an_eighth_of_an_honest_weight():
    assert best_on_off_weight(after) == pytest.approx(0.13, abs=0.005)


def test_the_best_on_off_attacker_against_a_plain_beta_reputation_keeps_a_third():
    assert best_on_off_weight(plain_beta) == pytest.approx(0.33, abs=0.005)


def test_the_probe_weight_gives_an_on_off_attacker_less_than_two_hundredths_more():
    bare = on_off_weight(after, 1, 1)
    state, influence = after(Reputation(), *[0.8] * 60), 0.0
    for _ in range(CYCLES):
        state = after(state, 0.8)
        influence += trust_factor(trust_score(state))
        state = after(state, 0.0)
    assert bare <= influence / (2 * CYCLES) < bare + 0.02


def test_evidence_just_below_neutral_earns_nothing():
    assert trust_score(after(Reputation(), *[0.45] * 300)) == trust_score(Reputation())
