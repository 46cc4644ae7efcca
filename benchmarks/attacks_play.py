"""One model trained under one attack and one defence, from a seed: what it can do in the end."""

import statistics
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng  # noqa: TID251 - a seeded world

from benchmarks.attacks_defences import DEFENCES, Defence, TrustedPipeline
from benchmarks.attacks_digits import CLIENTS, Digits, first_weights, train
from benchmarks.attacks_forged import ATTACKERS, Rows, Scene
from benchmarks.attacks_listed import Attack
from boltz_core.arrays import Float32Vector

ROUNDS = 50
LATER_ROUNDS = 30  # for who first earns trust: so many rounds of attack
THEIRS = slice(0, ATTACKERS)


@dataclass(frozen=True)
class Outcome:
    """In percent."""

    accuracy: float
    backdoor_success: float


@dataclass(frozen=True)
class FinalTrust:
    """Mean trust of the attackers, and of all others."""

    attackers: float
    honest: float


def play(defence_name: str, attack: Attack, *, seed: int, rounds: int = ROUNDS) -> Outcome:
    """Train for so many rounds; a late attack has rounds of its own after the ones that it waits."""
    random = default_rng(seed)
    digits, defence = Digits.deal(random), DEFENCES[defence_name](CLIENTS, random)
    weights = _train_on(digits, defence, attack, random, rounds)
    return Outcome(digits.accuracy(weights), digits.backdoor_success(weights, attack.trigger))


def play_for_trust(attack: Attack, *, seed: int, rounds: int = ROUNDS) -> FinalTrust:
    """The same with the default pipeline: what it thinks of its clients in the end."""
    random = default_rng(seed)
    digits, pipeline = Digits.deal(random), TrustedPipeline(CLIENTS)
    _train_on(digits, pipeline, attack, random, rounds)
    return FinalTrust(
        statistics.fmean(pipeline.trust[:ATTACKERS]),
        statistics.fmean(pipeline.trust[ATTACKERS:]),
    )


def _train_on(digits: Digits, defence: Defence, attack: Attack, random: Generator, rounds: int) -> Float32Vector:
    weights = first_weights(random)
    poisoned = attack.poison(digits.shares, THEIRS) if attack.poison else digits.shares
    last = rounds if attack.first_round == 1 else attack.first_round - 1 + LATER_ROUNDS
    for number in range(1, last + 1):
        strikes = attack.strikes_in(number)
        rows = train(weights, poisoned if strikes else digits.shares, random)
        if strikes:
            rows = _attacked(rows, attack, random, defence)
        weights = (weights + defence.combine(rows)).astype(np.float32)
        defence.learn(rows)
    return weights


def _attacked(trained: Rows, attack: Attack, random: Generator, defence: Defence) -> Rows:
    """The round's updates, with those of the attackers in place of what their clients have trained."""
    scene = Scene(
        honest=trained[ATTACKERS:],
        own=trained[THEIRS],
        random=random,
        combine=defence.combine,
        evidence=defence.evidence,
    )
    return np.concatenate([attack.forge(scene), scene.honest]).astype(np.float32) if attack.forge else trained
