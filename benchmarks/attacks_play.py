"""One model trained under one attack and one defence, from a seed: what it can do in the end."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng  # noqa: TID251 - a seeded world

from benchmarks.attacks_defences import DEFENCES, Defence
from benchmarks.attacks_digits import CLIENTS, Digits, first_weights, train
from benchmarks.attacks_forged import ATTACKERS, Rows, Scene
from benchmarks.attacks_listed import Attack

ROUNDS = 50
LATER_ROUNDS = 30  # for who first earns trust: so many rounds of attack
THEIRS = slice(0, ATTACKERS)


@dataclass(frozen=True)
class Outcome:
    """In percent."""

    accuracy: float
    backdoor_success: float


def play(defence_name: str, attack: Attack, *, seed: int, rounds: int = ROUNDS) -> Outcome:
    """Train for so many rounds; a late attack has rounds of its own after the ones that it waits."""
    random = default_rng(seed)
    digits, weights = Digits.deal(random), first_weights(random)
    defence = DEFENCES[defence_name](CLIENTS, random)
    poisoned = attack.poison(digits.shares, THEIRS) if attack.poison else digits.shares
    last = rounds if attack.first_round == 1 else attack.first_round - 1 + LATER_ROUNDS
    for number in range(1, last + 1):
        strikes = attack.strikes_in(number)
        rows = train(weights, poisoned if strikes else digits.shares, random)
        if strikes:
            rows = _attacked(rows, attack, random, defence)
        weights = (weights + defence.combine(rows)).astype(np.float32)
        defence.learn(rows)
    return Outcome(digits.accuracy(weights), digits.backdoor_success(weights))


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
