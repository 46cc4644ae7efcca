"""Train, subtract, clip, claim, seal: from examples to an envelope. No network, no files.

The clip is the round's `max_norm`, met a hair below, so that rounding on either side cannot make an honest update too
large.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from boltz_client.dataset import Examples
from boltz_client.errors import LocalError, TrainerError, UntrustedMeshError
from boltz_client.trainers import Trainer
from boltz_client.versions import KeptVersion
from boltz_protocol import envelope, signing, tensors
from boltz_protocol.errors import MalformedMessageError
from boltz_protocol.messages import Claims, EnvelopeHeader, Participation, RoundDescriptor
from boltz_protocol.tensors import Float32Vector, Layout, LayoutError

HAIR = 1e-6
MAX_METRICS = 16
# the mean error of one row at a model of zeros is the row itself
FEWEST_ROWS_MEASURED = 20
MAX_METRIC_NAME = 64
_BLOCK = 1 << 16


@dataclass(frozen=True)
class TrainedUpdate:
    """A clipped weight delta and what goes with it.

    `metrics` stay here, in full; `claims` holds what is shared. Both have none of data of a few rows.
    """

    delta: Float32Vector
    layout: Layout
    claims: Claims
    norm: float
    clipped: bool
    metrics: dict[str, float]


@dataclass(frozen=True)
class SealedUpdate:
    """An envelope in memory, and its digest."""

    body: memoryview
    body_sha256: bytes


def train_update(
    base: KeptVersion, examples: Examples, trainer: Trainer, *, max_norm: float, share_metrics: bool
) -> TrainedUpdate:
    """Train on the examples and take the clipped difference to the base version.

    Raises:
        TrainerError: the trainer gave back other tensors, or numbers that are not finite.
    """
    delta, measured = _trained_delta(base, examples, trainer)
    metrics = measured if examples.count >= FEWEST_ROWS_MEASURED else {}
    norm, clipped = clip(delta, max_norm=max_norm)
    claims = Claims(
        v=1,
        examples=examples.count,
        feature_coverage=examples.feature_coverage,
        invalid_share=examples.invalid_share,
        metrics=_shared(metrics) if share_metrics else {},
        local_noise=None,
    )
    return TrainedUpdate(delta, base.layout, claims, norm, clipped, metrics)


def _trained_delta(base: KeptVersion, examples: Examples, trainer: Trainer) -> tuple[Float32Vector, dict[str, float]]:
    """What training has changed, and its metrics before and after. At most two models lie in memory at a time."""
    weights = tensors.unflatten(base.read(), base.layout)
    before = _metrics("before", trainer.evaluate(weights, examples.X, examples.y))
    trained = trainer.train(weights, examples.X, examples.y)
    after = _metrics("after", trainer.evaluate(trained, examples.X, examples.y))
    del weights
    try:
        delta = tensors.flatten(trained, base.layout)
    except LayoutError as error:
        raise TrainerError(f"train() must return the tensors it was given, by name: {error.message}") from error
    del trained
    with np.errstate(over="ignore", invalid="ignore"):  # clip() sees what is not finite
        base.subtract_from(delta)
    return delta, before | after


def clip(delta: Float32Vector, *, max_norm: float) -> tuple[float, bool]:
    """Scale `delta` in place so that its L2 norm stays a hair below `max_norm`; returns (norm, whether it had to be).

    Works block by block in float64, so that neither squares overflow nor a copy of the model is made.

    Raises:
        TrainerError: there are numbers in it that are not finite.
    """
    norm = norm_of(delta)
    if not math.isfinite(norm):
        raise TrainerError(
            "train() returned NaN or infinite weights; lower its learning rate or look for outliers in y"
        )
    if norm <= max_norm * (1 - HAIR):
        return norm, False
    factor = max_norm * (1 - HAIR) / norm
    for start in range(0, len(delta), _BLOCK):
        block = delta[start : start + _BLOCK]
        block[:] = block.astype(np.float64) * factor
    return norm_of(delta), True


def norm_of(vector: Float32Vector) -> float:
    """L2 norm in float64."""
    blocks = (vector[start : start + _BLOCK].astype(np.float64) for start in range(0, len(vector), _BLOCK))
    return math.sqrt(math.fsum(float(block @ block) for block in blocks))


def seal_update(
    update: TrainedUpdate, descriptor: RoundDescriptor, place: Participation, *, client_kid: str, created_at: datetime
) -> SealedUpdate:
    """Seal the update for the round's encryption key.

    Raises:
        UntrustedMeshError: the descriptor's key is not one.
        LocalError: the envelope is longer than the round takes.
    """
    try:
        server_key = signing.rsa_from_jwk(descriptor.encryption_key)
    except MalformedMessageError as error:
        raise UntrustedMeshError(f"the round's encryption key is none: {error.message}") from error
    header = EnvelopeHeader(
        v=1,
        suite=1,
        server_kid=descriptor.encryption_key.kid,
        client_kid=client_kid,
        client_id=place.client_id,
        model=descriptor.model,
        round=descriptor.round,
        upload_id=place.upload_id,
        base_sha256=descriptor.base_sha256,
        layout_digest=update.layout.digest,
        codec="safetensors-f32",
        plain_length=envelope.plain_length(update.claims, update.layout),
        created_at=created_at,
    )
    length = envelope.sealed_length(header, server_key=server_key)
    if length > descriptor.max_envelope_bytes:
        raise LocalError(
            f"the envelope has {length} bytes, the round takes {descriptor.max_envelope_bytes}; ask the operator",
            code="envelope_too_large",
        )
    # numpy asks for huge pages and clears nothing, unlike a bytearray
    body = np.empty(length, np.uint8).data
    written = _Written(body)
    envelope.seal(header, update.claims, update.delta, update.layout, server_key=server_key, write=written.write)
    return SealedUpdate(body, written.sha256.digest())


class _Written:
    """Fills one buffer of the right size and hashes it on the way: the model lies in memory once sealed, once plain."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._position = view, 0
        self.sha256 = hashlib.sha256()

    def write(self, piece: memoryview | bytes) -> None:
        self._view[self._position : self._position + len(piece)] = piece
        self._position += len(piece)
        self.sha256.update(piece)


def _metrics(prefix: str, measured: Mapping[str, float]) -> dict[str, float]:
    values = {f"{prefix}.{name}"[:MAX_METRIC_NAME]: float(value) for name, value in measured.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _shared(metrics: Mapping[str, float]) -> dict[str, float]:
    """At most 16, to four significant digits: enough to judge a training run by."""
    return {name: float(f"{value:.4g}") for name, value in sorted(metrics.items())[:MAX_METRICS]}
