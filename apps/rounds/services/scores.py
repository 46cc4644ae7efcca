"""How good a version is on a hold-out."""

import numpy as np

from apps.rounds import holdouts, versions
from apps.rounds.models import FederatedModel, ModelVersion
from boltz_core.rounds.states import VersionState
from boltz_protocol import tasks, tensors

# numbers that a layer may put out at once: predictions are made in blocks of rows
BLOCK_NUMBERS = 1 << 22


def current_version(model: FederatedModel) -> ModelVersion:
    """The version that clients get."""
    return ModelVersion.objects.select_related("model").get(model=model, state=VersionState.CURRENT)


def score_of(version: ModelVersion, holdout: holdouts.HoldOut, metric: str) -> float:
    """How good a version's predictions on a hold-out are; not finite when they overflow.

    Raises:
        DamagedVersionError: its weights are not those that were published.
    """
    task, layout = version.model.task_spec(), version.model.tensor_layout()
    reader = versions.WeightsReader(version, layout)
    try:
        weights = tensors.unflatten(reader.read(0, layout.parameters), layout)
    finally:
        reader.close()
    scaled = tasks.scale_features(task, holdout.features)
    rows = max(1, BLOCK_NUMBERS // max(len(task.features), *task.hidden, 1))
    # weights of any size may come out of a round: what overflows is a score that is not finite, and does not pass
    with np.errstate(over="ignore", invalid="ignore"):
        blocks = [tasks.predict(task, weights, scaled[at : at + rows]) for at in range(0, len(scaled), rows)]
        return tasks.score(metric, holdout.target, np.concatenate(blocks))
