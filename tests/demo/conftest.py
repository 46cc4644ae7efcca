"""The real market, read once for all tests of the demo, and a small outcome to draw."""

import pytest

from demo import market, shares, task
from demo.metrics import Scores
from demo.outcome import Outcome, Refusal, RoundLine


@pytest.fixture(scope="session")
def days():
    return market.load_market()


@pytest.fixture(scope="session")
def twelve(days):
    return shares.make_shares(days, clients=12, seed=7)


@pytest.fixture(scope="session")
def starter():
    return task.read_starter("boltz-core")


@pytest.fixture
def outcome(twelve):
    """Three rounds in which eleven of twelve clients gain."""
    alone = tuple(0.20 + index / 100 for index in range(12))

    def together(r2, qlike):
        errors = (alone[0] * 1.05, *(error * 0.9 for error in alone[1:]))
        return Scores(r2=r2, qlike=qlike, errors=errors)

    lines = [
        RoundLine(
            number=number,
            joined=14,
            accepted=14,
            staged=12,
            rejected={"undecryptable": 1, "not_finite": 1},
            version=number,
            step_norm=0.1 / number,
            scores=together(0.45 + number / 100, 0.30 - number / 100),
        )
        for number in (1, 2, 3)
    ]
    refusals = [
        Refusal("misfit-nan", "sends weights that are not numbers", number, "not_finite") for number in (1, 2, 3)
    ]
    return Outcome(
        seed=7,
        rounds=3,
        shares=twelve,
        naive=Scores(r2=0.43, qlike=0.31, errors=alone),
        local_only=Scores(r2=0.46, qlike=0.295, errors=alone),
        lines=lines,
        refusals=refusals,
        seconds=41.0,
    )
