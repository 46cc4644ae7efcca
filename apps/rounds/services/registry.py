"""Models: how one is made and how its policy changes."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from apps.audit import services as audit
from apps.keys import services as keys
from apps.rounds import versions
from apps.rounds.models import FederatedModel, ModelVersion
from apps.rounds.services import promotion, verdicts
from boltz_core.aggregation.policy import check_round_policy
from boltz_core.rounds.states import VersionState
from boltz_protocol import tasks
from boltz_protocol.errors import NotNowError, SenderError
from boltz_protocol.messages import Name, RoundPolicy, TaskSpec, VersionManifest
from boltz_protocol.signing import Purpose
from boltz_protocol.tensors import Layout, flatten


@dataclass(frozen=True)
class ModelRequest:
    """What a new model is made of; `weights` are for a `custom` task only, the others make their own."""

    name: str
    task: TaskSpec
    policy: RoundPolicy
    keeps_open: bool = False
    pause_seconds: int = 0
    weights: Mapping[str, np.ndarray] | None = None
    seed: bytes = b""


def create_model(request: ModelRequest, *, actor: str) -> FederatedModel:
    """Make a model and its version 0.

    Raises:
        SenderError: a bad name (`invalid_name`), task (`invalid_task`) or policy (`invalid_policy`,
        `mode_not_available`).
        NotNowError: `model_exists`.
    """
    try:
        name = msgspec.convert(request.name, Name)
    except msgspec.ValidationError as error:
        message = "a model's name has 1 to 64 characters: lower-case letters, digits, dot, dash and underscore"
        raise SenderError(message, code="invalid_name") from error
    tasks.check_task(request.task)
    check_round_policy(request.policy)
    weights = seed_weights(request)
    layout = Layout.of(weights)
    vector = flatten(weights, layout)
    if not np.isfinite(vector).all():
        raise SenderError("the first weights hold NaN or infinite numbers", code="invalid_task")
    sha256, size = versions.write_tensors(layout, [memoryview(vector).cast("B")])
    try:
        with transaction.atomic():
            model = FederatedModel.objects.create(
                name=name,
                mode=request.policy.mode,
                task=msgspec.to_builtins(request.task),
                layout=msgspec.to_builtins(layout.specs),
                layout_digest=layout.digest,
                parameters=layout.parameters,
                policy=msgspec.to_builtins(request.policy),
                keeps_open=request.keeps_open,
                pause_seconds=request.pause_seconds,
            )
            audit.append(
                "model.created", actor=actor, detail={"model": name, "policy": model.policy, "task": model.task}
            )
            publish_version(NewVersion(model=model, sha256=sha256, size=size), actor=actor)
    except IntegrityError as error:
        raise NotNowError(f"a model named {name} exists already", code="model_exists") from error
    return model


def seed_weights(request: ModelRequest) -> Mapping[str, np.ndarray]:
    """The weights of version 0."""
    if request.task.kind != "custom":
        return tasks.seed_weights(request.task, seed=request.seed or request.name.encode())
    if not request.weights:
        raise SenderError("a custom task needs its first weights (a safetensors file)", code="invalid_task")
    return request.weights


@dataclass(frozen=True)
class NewVersion:
    """A version about to be published. `base` and `round` are absent for version 0 only."""

    model: FederatedModel
    sha256: str
    size: int
    base: ModelVersion | None = None
    round_id: int | None = None
    round_number: int | None = None
    members: int = 0
    step_norm: float | None = None
    optimizer: str = "none"
    state_sha256: str = ""
    state_bytes: int = 0


def publish_version(new: NewVersion, *, actor: str) -> ModelVersion:
    """Insert a version with its signed manifest and log entry, in the caller's transaction.

    It is current at once, or a candidate: when its model has a gate, or when its base is not the current version.
    """
    model, base = new.model, new.base
    created_at = timezone.now()
    manifest = VersionManifest(
        v=1,
        model=model.name,
        number=next_number(model),
        mode=model.round_policy().mode,
        task=model.task_spec(),
        layout=model.tensor_layout().specs,
        layout_digest=model.layout_digest,
        weights_sha256=new.sha256,
        weights_bytes=new.size,
        base_sha256=base.weights_sha256 if base else None,
        round=new.round_number,
        members=new.members,
        created_at=created_at,
        optimizer=new.optimizer,
        state_sha256=new.state_sha256 or None,
    )
    signed = keys.sign_document(manifest, Purpose.MANIFEST)
    # the gate judges later, in a worker; without one a version takes the place of its own base at once
    at_once = base is None or (model.gate is None and promotion.displace(base))
    version = ModelVersion.objects.create(
        model=model,
        number=manifest.number,
        state=VersionState.CURRENT if at_once else VersionState.CANDIDATE,
        weights_sha256=new.sha256,
        weights_bytes=new.size,
        base=base,
        round_id=new.round_id,
        members=new.members,
        step_norm=new.step_norm,
        optimizer=new.optimizer,
        state_sha256=new.state_sha256,
        state_bytes=new.state_bytes,
        manifest=msgspec.to_builtins(signed),
        created_at=created_at,
    )
    audit.append(
        "version.published",
        actor=actor,
        round=f"{model.name}/{new.round_number}" if new.round_number else None,
        detail={
            "model": model.name,
            "version": version.number,
            "state": version.state,
            "weights_sha256": new.sha256,
            "members": new.members,
        },
    )
    if version.state == VersionState.CANDIDATE:
        verdicts.receive_candidate(version)
    return version


def next_number(model: FederatedModel) -> int:
    """The number of a model's next version: after a roll-back its base is not the last one.

    Nobody else takes it: a version comes with the end of the one live round.
    """
    last = ModelVersion.objects.filter(model=model).aggregate(last=Max("number"))["last"]
    return 0 if last is None else last + 1


def change_policy(model: FederatedModel, policy: RoundPolicy, *, actor: str) -> None:
    """Change the policy of the model's next round; the round that is open keeps the one it opened with.

    Raises:
        SenderError: `invalid_policy`; `mode_not_available` when it names another mode: a mode is for life.
    """
    check_round_policy(policy)
    if policy.mode != model.mode:
        message = f"{model} is a {model.mode} model for life; make another model for mode {policy.mode}"
        raise SenderError(message, code="mode_not_available")
    with transaction.atomic():
        FederatedModel.objects.filter(pk=model.pk).update(policy=msgspec.to_builtins(policy))
        audit.append("policy.changed", actor=actor, detail={"model": model.name, "policy": msgspec.to_builtins(policy)})


def change_schedule(model: FederatedModel, *, keeps_open: bool, pause_seconds: int, actor: str) -> None:
    """Say whether a model opens its next round by itself, and how long after the last one has ended."""
    schedule = {"keeps_open": keeps_open, "pause_seconds": pause_seconds}
    with transaction.atomic():
        FederatedModel.objects.filter(pk=model.pk).update(**schedule)
        audit.append("schedule.changed", actor=actor, detail={"model": model.name, **schedule})
