"""Whether the demo's task is worth a mesh: real data, the SDK's own trainer, three seeds, on the mean."""

import numpy as np
import pytest

from boltz_client.trainers import LinearTrainer
from demo import baselines, metrics, shares, simulate

SEEDS = (7, 8, 9)
ROUNDS = 10


@pytest.fixture(scope="module")
def results(days, starter):
    """For each seed: scores of naive, local-only, and each version."""
    task, policy = starter.task, starter.policy

    def scores(seed):
        drawn = shares.make_shares(days, clients=12, seed=seed)
        naive = metrics.score(drawn, [baselines.naive(share) for share in drawn])
        local = metrics.score(drawn, [baselines.local_only(share, task) for share in drawn])
        return naive, local, simulate.simulate(drawn, task, policy, trainer=LinearTrainer(task), rounds=ROUNDS)

    return [scores(seed) for seed in SEEDS]


def mean(numbers):
    return float(np.mean(list(numbers)))


def test_federated_beats_local_only_and_naive_on_r2(results):
    naive, local, federated = (
        mean(scores.r2 for scores in column)
        for column in zip(*((naive, local, versions[-1]) for naive, local, versions in results), strict=True)
    )
    assert federated > local + 0.02
    assert federated > naive + 0.05


def test_federated_beats_local_only_and_naive_on_qlike(results):
    naive, local, federated = (
        mean(scores.qlike for scores in column)
        for column in zip(*((naive, local, versions[-1]) for naive, local, versions in results), strict=True)
    )
    assert federated < local < naive


def test_most_clients_gain(results):
    gained = [metrics.margin(versions[-1], local).gained for _, local, versions in results]
    assert mean(gained) >= 8


def test_version_0_is_the_naive_forecast(results):
    for naive, _, versions in results:
        assert versions[0].r2 == pytest.approx(naive.r2)
        assert versions[0].qlike == pytest.approx(naive.qlike)


def test_the_mean_rises_over_the_rounds(results):
    curve = np.mean([[scores.r2 for scores in versions] for _, _, versions in results], axis=0)
    assert (np.diff(curve[:5]) > 0).all()
    assert curve[-1] > curve[1]


def test_the_clip_binds_nobody_honest(twelve, starter):
    weights = simulate.tasks.seed_weights(starter.task, seed=b"")
    norms = [
        np.linalg.norm(
            simulate.client_delta(share.train, starter.task, weights, LinearTrainer(starter.task), max_norm=np.inf)
        )
        for share in twelve
    ]
    assert max(norms) < starter.policy.max_norm / 3


def test_a_delta_beyond_the_clip_is_shortened(twelve, starter):
    weights = simulate.tasks.seed_weights(starter.task, seed=b"")
    delta = simulate.client_delta(twelve[0].train, starter.task, weights, LinearTrainer(starter.task), max_norm=0.001)
    assert np.linalg.norm(delta) == pytest.approx(0.001, rel=1e-4)
