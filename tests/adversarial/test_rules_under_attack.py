"""The rules under attack, in short: 20 rounds of what `./dev bench attacks` plays in full (docs/robustness.md).

If the plain mean does not fail here, the attacks are too weak and the other tests say nothing.
"""

import numpy as np
import pytest

from benchmarks.attacks_defences import DEFAULT_PIPELINE, PLAIN_MEAN
from benchmarks.attacks_listed import ADAPTIVE, KNOWN, NOBODY
from benchmarks.attacks_play import play
from boltz_core.aggregation import aggregate

ROUNDS = 20
ATTACKS = {attack.name: attack for attack in (NOBODY, *KNOWN, *ADAPTIVE)}
WITH_NNM = ["nnm > median", "nnm > trimmed_mean", "nnm > krum", "nnm > geometric_median", "multi_krum"]


def played(defence, attack, *, seed=0):
    return play(defence, ATTACKS[attack], seed=seed, rounds=ROUNDS)


def test_the_plain_mean_learns_nothing_under_a_long_sign_flip():
    assert played(PLAIN_MEAN, NOBODY.name).accuracy > 80
    assert played(PLAIN_MEAN, "sign flip x 10").accuracy < 30


def test_the_plain_mean_takes_in_a_backdoor():
    assert played(PLAIN_MEAN, "model replacement").backdoor_success > 90


def test_krum_keeps_less_than_three_quarters_under_a_sign_flip():
    assert played("krum", "sign flip").accuracy < 75


@pytest.mark.parametrize("defence", [*WITH_NNM, DEFAULT_PIPELINE])
def test_a_long_sign_flip_takes_nothing_from_a_robust_rule(defence):
    assert played(defence, "sign flip x 10").accuracy > 75


@pytest.mark.parametrize("defence", [*WITH_NNM, "norm_clip > weighted_mean", "centered_clipping", DEFAULT_PIPELINE])
def test_a_boosted_backdoor_does_not_get_into_a_robust_rule(defence):
    assert played(defence, "model replacement").backdoor_success <= 5


@pytest.mark.parametrize("attack", ["sign flip", "ALIE", pytest.param("knows the rule, IPM", marks=pytest.mark.long)])
def test_the_default_pipeline_learns_under_attack(attack):
    assert played(DEFAULT_PIPELINE, attack).accuracy > 75


def test_trust_holds_where_the_same_rules_without_it_fail():
    assert played("nnm > trimmed_mean", "sign flip").accuracy < 60
    assert played(DEFAULT_PIPELINE, "sign flip").accuracy > 75


def offset_rows(seed):
    """Three attackers, then 17 honest: weights of about 0.05 that all share, and changes of 1e-5."""
    random = np.random.default_rng(seed)
    parameters = 200_000
    weights, common = 0.05 * random.normal(size=parameters), random.normal(size=parameters)
    honest = 0.5 * common + random.normal(size=(17, parameters))
    return (weights + 1e-5 * np.vstack([np.repeat(-common[None], 3, axis=0), honest])).astype(np.float32)


def selected_without_centring(rows, byzantine):
    """Multi-Krum as it is usually written, on a float32 Gram matrix of the rows as they are."""
    gram = rows @ rows.T
    squares = gram.diagonal()
    apart = squares[:, None] + squares - 2 * gram
    np.fill_diagonal(apart, np.inf)
    scores = np.sort(apart, axis=1)[:, : len(rows) - byzantine - 2].sum(axis=1)
    return np.argsort(scores, kind="stable")[: len(rows) - byzantine]


@pytest.mark.parametrize("seed", range(3))
def test_a_gram_matrix_without_centring_selects_attackers_who_hide_in_an_offset(seed):
    assert set(selected_without_centring(offset_rows(seed), 3)) & {0, 1, 2}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rule", ["krum", "multi_krum"])
def test_ours_selects_none_of_them(rule, seed):
    weights = aggregate(offset_rows(seed), rule=rule, byzantine=3).weights
    assert not weights[:3].any()
    assert weights[3:].sum() == pytest.approx(1)
