import dataclasses

import numpy as np
import pytest

from benchmarks import attacks_forged as forged
from benchmarks.attacks_forged import ATTACKERS, JITTER, STRENGTHS, Scene
from boltz_core.aggregation.gate import gate_norms

HONEST, PARAMETERS = 16, 300


@pytest.fixture
def scene():
    random = np.random.default_rng(5)
    rows = 0.4 * random.normal(size=PARAMETERS) + random.normal(size=(ATTACKERS + HONEST, PARAMETERS))
    return Scene(
        honest=rows[ATTACKERS:],
        own=rows[:ATTACKERS],
        random=random,
        combine=lambda sent: sent.mean(axis=0),
        evidence=lambda sent: [1.0] * len(sent),
    )


def distances(rows, others):
    return np.linalg.norm(rows[:, None] - others[None], axis=2)


def gated(scene, rows):
    norms = np.linalg.norm(np.vstack([rows, scene.honest]), axis=1)
    return [reason is not None for reason in gate_norms(norms, bound=1e9).reasons[:ATTACKERS]]


def test_min_max_is_as_far_from_an_honest_update_as_two_honest_ones_are(scene):
    farthest = distances(forged.min_max(scene), scene.honest).max()
    assert farthest == pytest.approx(distances(scene.honest, scene.honest).max(), rel=1e-6)


def test_min_sum_is_as_far_from_all_honest_updates_as_one_of_them_is(scene):
    squares = distances(forged.min_sum(scene), scene.honest) ** 2
    assert squares.sum(axis=1).max() == pytest.approx(
        (distances(scene.honest, scene.honest) ** 2).sum(axis=1).max(), rel=1e-6
    )


def test_alie_is_one_standard_deviation_away_in_each_coordinate(scene):
    # Where so many are honest, the number of supporters asks for less than 1, which is the least.
    away = scene.honest.mean(axis=0) - forged.a_little_is_enough(scene)[0]
    assert away == pytest.approx(scene.honest.std(axis=0, ddof=1))


@pytest.mark.parametrize("forge", [forged.sign_flip, forged.inner_product_manipulation, forged.sign_flip_tenfold])
def test_what_goes_against_the_honest_mean_points_the_other_way(scene, forge):
    assert (forge(scene) @ scene.honest.mean(axis=0) < 0).all()


def test_what_is_boosted_is_stopped_by_the_gate(scene):
    assert gated(scene, forged.boosted(scene)) == [True] * ATTACKERS


@pytest.mark.parametrize("forge", [forged.below_the_gate, forged.jittered(forged.sign_flip_below_the_gate)])
def test_what_stays_below_the_gate_passes_it(scene, forge):
    assert gated(scene, forge(scene)) == [False] * ATTACKERS


def test_what_stays_below_the_gate_is_three_times_as_long_as_an_honest_update_all_the_same(scene):
    lengths = np.linalg.norm(forged.below_the_gate(scene), axis=1)
    assert lengths.min() > 3 * np.median(np.linalg.norm(scene.honest, axis=1))


def test_without_boost_no_update_is_longer_than_a_typical_honest_one(scene):
    long = dataclasses.replace(scene, own=10 * scene.own)
    typical = np.median(np.linalg.norm(scene.honest, axis=1))
    assert np.linalg.norm(forged.as_long_as_others(long), axis=1) == pytest.approx([typical] * ATTACKERS)


def test_jittered_attackers_do_not_look_alike(scene):
    apart = distances(forged.jittered(forged.sign_flip)(scene), forged.jittered(forged.sign_flip)(scene))
    assert apart.min() > JITTER * np.linalg.norm(scene.honest.mean(axis=0))


def test_who_knows_the_rule_sends_what_moves_it_most(scene):
    strongest = forged.strongest(forged.opposite, forged.nothing)(scene)
    lengths = np.linalg.norm(strongest, axis=1) / np.linalg.norm(scene.honest.mean(axis=0))
    assert lengths == pytest.approx([max(STRENGTHS)] * ATTACKERS, rel=0.1)


def test_who_knows_a_rule_that_stops_what_is_long_sends_what_passes(scene):
    longest = 2 * np.linalg.norm(scene.honest.mean(axis=0))

    def combine(sent):
        attack = sent[:ATTACKERS].mean(axis=0)
        return attack if np.linalg.norm(attack) < longest else scene.honest.mean(axis=0)

    knowing = dataclasses.replace(scene, combine=combine)
    rows = forged.strongest(forged.opposite, forged.nothing)(knowing)
    assert np.linalg.norm(rows.mean(axis=0)) < longest


def test_who_keeps_its_trust_sends_only_what_earns_credit(scene):
    # Credit for who is no farther from the honest mean than half of its length.
    mean = scene.honest.mean(axis=0)

    def evidence(sent):
        return [0.8 if np.linalg.norm(row - mean) < np.linalg.norm(mean) / 2 else 0.4 for row in sent]

    rows = forged.strongest_unnoticed(forged.opposite)(dataclasses.replace(scene, evidence=evidence))
    assert set(evidence(rows.astype(np.float32))) == {0.8}


def test_who_cannot_keep_its_trust_otherwise_sends_what_it_trained(scene):
    watched = dataclasses.replace(scene, evidence=lambda sent: [0.4] * len(sent))
    assert np.array_equal(forged.strongest_unnoticed(forged.opposite)(watched), scene.own)
