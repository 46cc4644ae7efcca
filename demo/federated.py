"""The forecasts of one set of shared weights, judged like any other forecast."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from boltz_protocol import tasks
from boltz_protocol.messages import TaskSpec
from demo import metrics
from demo.metrics import Forecast, Scores
from demo.shares import Share

Weights = Mapping[str, NDArray[np.float32]]


def forecast(share: Share, task: TaskSpec, weights: Weights) -> Forecast:
    """What the weights say about one client's rows."""
    train, test = (
        tasks.predict(task, weights, tasks.scale_features(task, rows.X)) for rows in (share.train, share.test)
    )
    return Forecast(train=train, test=test)


def scores(shares: Sequence[Share], task: TaskSpec, weights: Weights) -> Scores:
    """How good the weights are for all clients."""
    return metrics.score(shares, [forecast(share, task, weights) for share in shares])
