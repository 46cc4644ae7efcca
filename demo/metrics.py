"""How good a forecast is, out of sample, on each client's own symbols.

R2 is that of log volatility against one constant, the mean of all training days. QLIKE is that of variance (lower is
better). Client margins compare mean squared errors of log volatility. Every forecast is judged by the same functions on
the same rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demo.market import Rows
from demo.shares import Share

WINSORISED = 0.01

OverMonth = NDArray[np.float64]  # log volatility minus its 22-day mean, as in `Rows.y`


@dataclass(frozen=True)
class Forecast:
    """One client's forecasts of `Rows.y`, for its training and its test rows."""

    train: OverMonth
    test: OverMonth


@dataclass(frozen=True)
class Scores:
    """What one model achieves over all clients; `errors` has one mean squared error a client."""

    r2: float
    qlike: float
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Margin:
    """How far one model is ahead of another, client by client.

    Attributes:
        r2: difference of R2.
        error_share: by which share the mean squared error, averaged over clients, is lower.
        clients: by which share each client's own error is lower; negative where it lost.
    """

    r2: float
    error_share: float
    clients: tuple[float, ...]

    @property
    def gained(self) -> int:
        """How many clients are better off."""
        return sum(share > 0 for share in self.clients)


def score(shares: Sequence[Share], forecasts: Sequence[Forecast]) -> Scores:
    """Judge one model, given its forecasts for each client in turn."""
    pairs = list(zip(shares, forecasts, strict=True))
    errors = tuple(mean_squared_error(share.test, forecast.test) for share, forecast in pairs)
    return Scores(
        r2=r2(shares, forecasts),
        qlike=float(np.mean([qlike(share, forecast) for share, forecast in pairs])),
        errors=errors,
    )


def margin(ahead: Scores, behind: Scores) -> Margin:
    """How far `ahead` is ahead of `behind`."""
    before, after = np.array(behind.errors), np.array(ahead.errors)
    return Margin(
        r2=ahead.r2 - behind.r2,
        error_share=float(1 - after.mean() / before.mean()),
        clients=tuple(float(share) for share in 1 - after / before),
    )


def mean_squared_error(rows: Rows, forecast: OverMonth) -> float:
    """Of log volatility; the 22-day mean cancels."""
    return float(np.mean((rows.y - forecast) ** 2))


def r2(shares: Sequence[Share], forecasts: Sequence[Forecast]) -> float:
    """Share of the test rows' variance of log volatility that is explained, all clients' rows together.

    The constant it is measured against is the mean of all *training* rows: the test's own mean could not be known.
    """
    known_mean = np.concatenate([share.train.log_volatility for share in shares]).mean()
    missed = sum(float(np.sum((s.test.y - f.test) ** 2)) for s, f in zip(shares, forecasts, strict=True))
    total = sum(float(np.sum((share.test.log_volatility - known_mean) ** 2)) for share in shares)
    return 1 - missed / total


def qlike(share: Share, forecast: Forecast) -> float:
    """Mean of v/f - log(v/f) - 1 for variance v and its forecast f.

    The forecast of a variance is more than the square of exp(forecast of log volatility): each client scales it by what
    its own training rows say, the same way for every model. The ratio is winsorised at 1 % and 99 %, because a single
    day of almost no range, or a crash, would decide the mean.

    Source: Patton 2011, "Volatility forecast comparison using imperfect volatility proxies".
    """
    scale = np.mean(np.exp(2 * (share.train.y - forecast.train)))
    ratio = np.exp(2 * (share.test.y - forecast.test)) / scale
    low, high = np.quantile(ratio, [WINSORISED, 1 - WINSORISED])
    ratio = np.clip(ratio, low, high)
    return float(np.mean(ratio - np.log(ratio) - 1))
