import numpy as np
import pytest

from demo import baselines, metrics
from demo.market import Rows
from demo.metrics import Forecast, Scores
from demo.shares import Share


def share_of(train_y, test_y, month=-4.0):
    def rows(y):
        y = np.array(y, dtype=float)
        return Rows(X=np.zeros((len(y), 9)), y=y, month=np.full(len(y), month))

    return Share(name="a", kind="edge_node", sector="Energy", symbols=("X",), train=rows(train_y), test=rows(test_y))


def constant(share, value):
    return Forecast(train=np.full(len(share.train), value), test=np.full(len(share.test), value))


def test_r2_is_one_for_a_perfect_forecast():
    share = share_of([0.0, 0.1], [0.3, -0.3])
    assert metrics.r2([share], [Forecast(train=share.train.y, test=share.test.y)]) == 1


def test_r2_is_zero_for_the_mean_of_the_training_days():
    calm, wild = share_of([0.0, 0.0], [0.5, -0.5], month=-5.0), share_of([0.0, 0.0], [0.5, -0.5], month=-3.0)
    forecasts = [constant(calm, 1.0), constant(wild, -1.0)]
    assert metrics.r2([calm, wild], forecasts) == pytest.approx(0)


def test_qlike_is_zero_for_a_forecast_that_is_right_each_day():
    share = share_of([0.0, 0.1], [0.3, -0.3])
    assert metrics.qlike(share, Forecast(train=share.train.y, test=share.test.y)) == pytest.approx(0)


def test_qlike_does_not_blame_a_forecast_for_a_constant_factor():
    share = share_of([0.2, -0.2, 0.1], [0.3, -0.3, 0.1])
    plain, shifted = (metrics.qlike(share, constant(share, value)) for value in (0.0, 1.0))
    assert plain == pytest.approx(shifted)
    assert plain > 0


def test_one_wild_day_in_a_thousand_does_not_decide_qlike():
    quiet = [0.2, -0.2] * 500
    wild = [*quiet[:-1], -8.0]
    plain, with_wild = (
        metrics.qlike(share, constant(share, 0.0)) for share in (share_of(quiet, quiet), share_of(quiet, wild))
    )
    assert with_wild == pytest.approx(plain, rel=0.01)


def test_a_margin_says_who_gained():
    behind, ahead = Scores(0.4, 0.3, (0.2, 0.2)), Scores(0.5, 0.2, (0.1, 0.25))
    margin = metrics.margin(ahead, behind)
    assert margin.r2 == pytest.approx(0.1)
    assert margin.error_share == pytest.approx(0.125)
    assert margin.clients == pytest.approx((0.5, -0.25))
    assert margin.gained == 1


def test_the_zero_model_is_the_naive_forecast(twelve):
    share = twelve[0]
    naive = baselines.naive(share)
    assert np.array_equal(share.test.month + naive.test, share.test.month)


def test_local_only_falls_back_to_naive_where_there_is_nothing_to_learn(starter):
    noise = np.random.default_rng(4)
    train = Rows(X=noise.normal(size=(80, 9)), y=noise.normal(size=80), month=np.full(80, -4.0))
    share = Share(name="a", kind="user_device", sector="Energy", symbols=("X",), train=train, test=train)
    assert np.abs(baselines.local_only(share, starter.task).test - train.y.mean()).max() < 0.3


def test_local_only_learns_what_a_client_can_learn_alone(twelve, starter):
    naive = metrics.score(twelve, [baselines.naive(share) for share in twelve])
    local = metrics.score(twelve, [baselines.local_only(share, starter.task) for share in twelve])
    assert local.r2 > naive.r2
    assert local.qlike < naive.qlike
