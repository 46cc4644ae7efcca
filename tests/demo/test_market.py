import math

import numpy as np
import pandas as pd
import pytest

from demo import market


def prices(**columns):
    frame = pd.DataFrame(columns)
    frame["date"] = pd.bdate_range("2010-01-04", periods=len(frame))
    return frame.assign(symbol="AAA", volume=1000)


def test_garman_klass_agrees_with_the_formula_by_hand():
    day = prices(open=[100.0], high=[104.0], low=[98.0], close=[101.0])
    expected = 0.5 * math.log(104 / 98) ** 2 - (2 * math.log(2) - 1) * math.log(1.01) ** 2
    assert market.garman_klass_variance(day)[0] == pytest.approx(expected)


def test_garman_klass_estimates_the_variance_of_a_random_walk():
    steps = np.random.default_rng(1).normal(0, 0.02 / math.sqrt(500), size=(2000, 500)).cumsum(axis=1)
    path = np.exp(np.hstack([np.zeros((2000, 1)), steps]))
    days = prices(open=path[:, 0], high=path.max(axis=1), low=path.min(axis=1), close=path[:, -1])
    assert market.garman_klass_variance(days).mean() == pytest.approx(0.02**2, rel=0.1)


def test_a_high_below_the_close_is_widened():
    day = prices(open=[100.0], high=[100.0], low=[100.0], close=[105.0])
    assert market.garman_klass_variance(day)[0] == pytest.approx((0.5 - 2 * math.log(2) + 1) * math.log(1.05) ** 2)


def test_a_day_without_a_range_has_the_lowest_variance():
    day = prices(open=[100.0], high=[100.0], low=[100.0], close=[100.0])
    assert market.garman_klass_variance(day)[0] == market.LOWEST_VARIANCE


def test_features_do_not_look_ahead():
    original = market.read_prices()
    original = original[original["symbol"] == "IBM"].reset_index(drop=True)
    changed = original.copy()
    later = changed["date"] > changed["date"][60]
    for column in ("open", "high", "low", "close", "volume"):
        changed[column] = changed[column].where(
            ~later, changed[column] * np.random.default_rng(2).uniform(0.5, 2, len(changed))
        )
    before, after = (
        days[days["date"] <= original["date"][60]][list(market.FEATURES)]
        for days in (market.add_features(original), market.add_features(changed))
    )
    assert len(before) > 30
    pd.testing.assert_frame_equal(before, after)


def test_the_target_is_the_next_days_log_volatility_over_the_month(days):
    ibm = days[days["symbol"] == "IBM"].reset_index(drop=True)
    followed = ibm["target_date"][:-1].reset_index(drop=True) == ibm["date"][1:].reset_index(drop=True)
    rows = market.rows(ibm)
    next_day = ibm["log_volatility"][1:].to_numpy()
    assert followed.sum() > 200
    assert np.allclose(rows.log_volatility[:-1][followed], next_day[followed])


def test_a_pause_of_one_symbol_is_not_taken_for_the_next_day():
    both = pd.concat(
        [prices(open=range(100, 160), high=range(105, 165), low=range(95, 155), close=range(101, 161))] * 2
    )
    both["symbol"] = ["AAA"] * 60 + ["BBB"] * 60
    paused = both[~((both["symbol"] == "BBB") & (both["date"] == both["date"].unique()[40]))]
    kept = market.add_features(paused.reset_index(drop=True))
    assert both["date"].unique()[39] in set(kept.loc[kept["symbol"] == "AAA", "date"])
    assert both["date"].unique()[39] not in set(kept.loc[kept["symbol"] == "BBB", "date"])


def test_no_training_target_lies_in_the_test(days):
    training, test = market.training_days(days), market.test_days(days)
    assert training["target_date"].max() < market.TEST_STARTS <= test["date"].min()
    assert pd.Timestamp("2010-05-06") in set(test["target_date"])


def test_every_row_is_finite(days):
    rows = market.rows(days)
    assert np.isfinite(rows.X).all()
    assert np.isfinite(rows.y).all()
    assert len(rows) > 100_000


def test_missing_data_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(market, "PACKAGE", "no_such_market")
    with pytest.raises(market.MissingMarketDataError, match=r"\./dev setup"):
        market.read_prices()
