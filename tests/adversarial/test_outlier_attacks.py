"""Attackers against the scores that find outliers. No single score catches them all."""

import copy

import numpy as np
import pytest

from boltz_core.trust.geometry_scores import geometry_scores
from boltz_core.trust.ingest_scores import IngestMeter
from boltz_core.trust.outliers import IN_WORDS, Score, judge_scores, norm_deviation, share_distance
from boltz_core.trust.sketch import moving_average, public_seed, sketch_cosine
from tests.adversarial.trust_world import PARAMETERS, TrustWorld

CLIENTS = 20
MALICIOUS = 4
ROUNDS = 100  # 2000 accepted updates: two-sided scores need 8 x 2 / .01 = 1600
THRESHOLD = 0.01
SEED = public_seed("d" * 64)
SIZES = (PARAMETERS // 2, PARAMETERS - PARAMETERS // 2)
USUAL_SHARES, USUAL_SIGNS = (0.5, 0.5), (0.5, 0.5, 0.0)


def measure(update):
    meter = IngestMeter(SIZES, SEED)
    narrow = update.astype(np.float32)
    meter.add(0, narrow, narrow.astype(np.float64))
    return meter.measures()


class ScoredRounds:
    """Honest rounds, whose scores become the history; then a round to be judged by it."""

    def __init__(self):
        self._world = TrustWorld(seed=3)
        self._history = {score: [] for score in Score}
        self._norms = []
        self._averages = [None] * CLIENTS
        self.last = None
        self._step = None
        for _ in range(ROUNDS + 2):
            rows = self.rows()
            for scores in self.score(rows):
                self._remember(scores)
            self.close(rows)
        self._history = {score: sorted(values) for score, values in self._history.items()}

    @property
    def world(self):
        return self._world

    def rows(self):
        return np.array([self._world.honest_update() for _ in range(CLIENTS)])

    def score(self, rows):
        gram = rows @ rows.T
        geometry = geometry_scores((gram + gram.T) / 2, malicious=MALICIOUS, mode="robust")
        return [
            {score: value for score, value in self._scores(*one).items() if value is not None}
            for one in zip(rows, geometry, self._averages, strict=True)
        ]

    def judge(self, rows, **others):
        return [
            judge_scores(scores, self._history, threshold=THRESHOLD, mode="robust", **others)
            for scores in self.score(rows)
        ]

    def _scores(self, row, geometry, average):
        measures = measure(row)
        return {
            Score.NORM: norm_deviation(measures.norm, self._norms, mode="robust"),
            Score.STEP_COSINE: None if self._step is None else float(row @ self._step / np.linalg.norm(row)),
            Score.OWN_COSINE: None if average is None else sketch_cosine(measures.sketch, average),
            Score.TENSOR_SHARES: share_distance(measures.tensor_shares, USUAL_SHARES),
            Score.SIGNS: share_distance(measures.signs.as_tuple(), USUAL_SIGNS),
            Score.KRUM: geometry.krum,
            Score.CLOSEST_COSINE: geometry.closest_cosine,
            Score.CENTRE_DISTANCE: geometry.centre_distance,
        }

    def _remember(self, scores):
        for score, value in scores.items():
            self._history[score].append(value)

    def close(self, rows):
        self._norms += [float(norm) for norm in np.linalg.norm(rows, axis=1)]
        self._averages = [
            moving_average(average, measure(row).sketch) for average, row in zip(self._averages, rows, strict=True)
        ]
        step = rows.mean(axis=0)
        self._step = step / np.linalg.norm(step)
        self.last = rows
        self._world.number += 1


@pytest.fixture(scope="module")
def rounds():
    return ScoredRounds()


def named(decision):
    return {score for score in Score if any(one.startswith(IN_WORDS[score]) for one in decision.mattered)}


def test_honest_updates_are_held_about_as_often_as_the_threshold_says(rounds):
    # New rounds, each with a step and a direction of its own: what the updates of one round share, they share once.
    later, held = copy.deepcopy(rounds), 0
    for _ in range(60):
        rows = later.rows()
        held += sum(decision.suspicious for decision in later.judge(rows))
        later.close(rows)
    assert 0 < held <= 2 * THRESHOLD * 60 * CLIENTS


def test_a_boosted_update_is_held_for_its_norm_and_its_distance(rounds):
    rows = rounds.rows()
    rows[0] *= 10
    found = rounds.judge(rows)[0]
    assert named(found) >= {Score.NORM, Score.KRUM, Score.CENTRE_DISTANCE}


def test_attackers_in_agreement_are_held_for_their_likeness(rounds):
    rows = rounds.rows()
    rows[:MALICIOUS] = rows[MALICIOUS:].mean(axis=0) - 0.3 * rows[MALICIOUS:].std(axis=0)
    assert [Score.CLOSEST_COSINE in named(found) for found in rounds.judge(rows)[:MALICIOUS]] == [True] * MALICIOUS


@pytest.mark.parametrize("jitter", [0.0, 0.05])
def test_one_that_always_sends_its_last_update_is_held_for_its_likeness_to_itself_from_the_third_time_on(
    rounds, jitter
):
    # Not from the first: the average follows slowly, and one repetition lies within what honest clients do.
    later, held = copy.deepcopy(rounds), []
    for _ in range(6):
        rows = later.rows()
        rows[0] = later.last[0] + jitter * later.world.random.normal(size=PARAMETERS) / np.sqrt(PARAMETERS)
        held.append(Score.OWN_COSINE in named(later.judge(rows)[0]))
        later.close(rows)
    assert held[2:] == [True] * 4


def test_one_that_sends_the_last_step_again_is_held_for_its_likeness_to_it(rounds):
    rows = rounds.rows()
    rows[0] = rounds.last.mean(axis=0)
    assert Score.STEP_COSINE in named(rounds.judge(rows)[0])


def test_one_that_sends_the_same_bytes_again_is_held_whatever_else_it_does(rounds):
    assert all(one.suspicious for one in rounds.judge(rounds.rows(), duplicate_of="u7"))


def test_an_update_that_changes_one_tensor_only_is_held_for_that(rounds):
    rows = rounds.rows()
    rows[0, : PARAMETERS // 2] = 0
    assert named(rounds.judge(rows)[0]) >= {Score.TENSOR_SHARES, Score.SIGNS}


def test_an_update_of_one_sign_is_held_for_that(rounds):
    rows = rounds.rows()
    rows[0] = np.abs(rows[0])
    assert Score.SIGNS in named(rounds.judge(rows)[0])


def test_an_attacker_can_look_more_typical_than_the_honest_in_distance_and_is_held_all_the_same(rounds):
    # "A little is enough": nearer to everybody than anybody honest is, so a single score of distance would admit it.
    rows = rounds.rows()
    rows[:MALICIOUS] = rows[MALICIOUS:].mean(axis=0) - 0.3 * rows[MALICIOUS:].std(axis=0)
    values = rounds.score(rows)
    assert max(one[Score.CENTRE_DISTANCE] for one in values[:MALICIOUS]) < min(
        one[Score.CENTRE_DISTANCE] for one in values[MALICIOUS:]
    )
    assert all(one.suspicious for one in rounds.judge(rows)[:MALICIOUS])
