"""The gate of a model, as an operator sets it: a hold-out, a metric, and by how much a new version may be worse.

How a version is judged by it: verdicts.py.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import msgspec
from django.db import transaction

from apps.audit import services as audit
from apps.rounds import holdouts
from apps.rounds.models import FederatedModel
from apps.rounds.services.scores import current_version, score_of
from boltz_core.rounds import gate as gates
from boltz_core.rounds.gate import Gate
from boltz_core.rounds.states import WrongStateError


@dataclass(frozen=True)
class GateRequest:
    """A gate as an operator asks for it. `metric` None: the one of the task."""

    holdout: Path
    metric: str | None = None
    margin: float = 0.0


def set_gate(model: FederatedModel, request: GateRequest, *, actor: str, reason: str) -> tuple[Gate, float]:
    """Give a model a gate, or another one; returns it with the score of the current version, which must be finite.

    Raises:
        GateError: `invalid_gate`: a gate that the model cannot have, or a hold-out that does not fit its task.
        ServerFaultError: the weights of the current version are damaged.
    """
    task = model.task_spec()
    metric = request.metric or task.metric
    gates.check_gate(task, metric=metric, margin=request.margin)
    holdout = holdouts.read_file(request.holdout, task)
    score = score_of(current_version(model), holdout, metric)
    if not math.isfinite(score):
        raise gates.GateError(f"the current version has no finite {metric} on this hold-out")
    with transaction.atomic():
        # whoever changes the same gate waits, so that nobody removes the other's file
        FederatedModel.objects.select_for_update(no_key=True).get(pk=model.pk)
        sha256 = holdouts.store(model, holdout)
        gate = Gate(metric=metric, margin=request.margin, holdout_sha256=sha256, rows=len(holdout.target))
        write_gate(model, gate, actor=actor, reason=reason)
    forget_old_holdouts(model)
    return gate, score


def remove_gate(model: FederatedModel, *, actor: str, reason: str) -> None:
    """Let every version of a model pass from now on, and remove its hold-out.

    Raises:
        NotNowError: `wrong_state`: it has none.
    """
    with transaction.atomic():
        locked = FederatedModel.objects.select_for_update(no_key=True).get(pk=model.pk)
        if locked.gate is None:
            raise WrongStateError(f"{model} has no gate")
        write_gate(model, None, actor=actor, reason=reason)
    forget_old_holdouts(model)


def write_gate(model: FederatedModel, gate: Gate | None, *, actor: str, reason: str) -> None:
    """Write and log it, in the caller's transaction."""
    model.gate = msgspec.to_builtins(gate)
    FederatedModel.objects.filter(pk=model.pk).update(gate=model.gate)
    audit.append("gate.changed", actor=actor, detail={"model": model.name, "gate": model.gate, "reason": reason})


def forget_old_holdouts(model: FederatedModel) -> None:
    """Remove hold-outs that are no gate's any more; the gate of now is read under its lock."""
    with transaction.atomic():
        locked = FederatedModel.objects.select_for_update(no_key=True).get(pk=model.pk)
        holdouts.forget_others(locked, locked.version_gate())
