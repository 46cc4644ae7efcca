"""The gate of a model: by how much a new version may be worse than the current one on the operator's own data.

The operator's hold-out is scored with both versions, by one of the metrics that `boltz_protocol.tasks` computes for
`linear` and `mlp` tasks; a `custom` task is computed by its participants alone and can have no gate.

Left to others: where the hold-out lies and what it must look like (apps.rounds.holdouts), what follows from the
outcome (apps.rounds.services).
"""

import math
from dataclasses import dataclass

from boltz_protocol import tasks
from boltz_protocol.errors import SenderError
from boltz_protocol.messages import TaskSpec

# of these more is better; the others are errors
RISING_METRICS = frozenset({"r2"})


class GateError(SenderError):
    """A gate that cannot be kept, or a hold-out that cannot be used."""

    default_code = "invalid_gate"


@dataclass(frozen=True)
class Gate:
    """What a new version is measured by.

    Args:
        metric: one of `tasks.METRICS`.
        margin: in the metric's own units; at least 0. A version that is worse by exactly this much still passes.
        holdout_sha256: of the stored hold-out.
        rows: how many examples it has.
    """

    metric: str
    margin: float
    holdout_sha256: str
    rows: int


def check_gate(task: TaskSpec, *, metric: str, margin: float) -> None:
    """Refuse a gate that a model of this task cannot have.

    Raises:
        GateError: a custom task, an unknown metric, or a margin that is negative or not finite.
    """
    if task.kind == "custom":
        raise GateError("a custom task is computed by its participants alone; it can have no gate")
    if metric not in tasks.METRICS:
        raise GateError(f"the metric {metric!r:.40} is none of {', '.join(tasks.METRICS)}")
    if not (math.isfinite(margin) and margin >= 0):
        raise GateError(f"the margin is {margin}; it must be a number from 0 on")


def passes(metric: str, *, candidate: float, current: float, margin: float) -> bool:
    """Whether a candidate may take the place of the current version.

    Scores that are not finite come from weights whose predictions overflow: such a candidate never passes, and any
    other is better than a current version of that kind.

    Args:
        metric: one of `tasks.METRICS`.
        candidate: its score on the hold-out.
        current: the score of the current version on the same rows.
        margin: from `Gate`.
    """
    if not math.isfinite(candidate):
        return False
    if not math.isfinite(current):
        return True
    worse_by = current - candidate if metric in RISING_METRICS else candidate - current
    return worse_by <= margin
