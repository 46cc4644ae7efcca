"""What the federated model has to beat: the naive forecast, and what each client could do alone.

The local-only baseline is meant to be strong. Each client fits a ridge regression on the same scaled features, with the
penalty chosen by leave-one-out cross-validation on its own rows. It fits what is left over the naive forecast, so a
client with little to learn from falls back to naive instead of losing to it.
"""

import numpy as np
from sklearn.linear_model import RidgeCV

from boltz_protocol import tasks
from boltz_protocol.messages import TaskSpec
from demo.metrics import Forecast
from demo.shares import Share

PENALTIES = np.logspace(-1, 4, 11)


def naive(share: Share) -> Forecast:
    """Tomorrow is as wild as the last 22 days were on average."""
    return Forecast(train=np.zeros(len(share.train)), test=np.zeros(len(share.test)))


def local_only(share: Share, task: TaskSpec) -> Forecast:
    """The best a client can do with its own rows."""
    train, test = (tasks.scale_features(task, rows.X) for rows in (share.train, share.test))
    model = RidgeCV(PENALTIES).fit(train, share.train.y)
    return Forecast(train=model.predict(train), test=model.predict(test))
