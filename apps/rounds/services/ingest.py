"""One update from RECEIVED to STAGED or REJECTED: decrypt, validate, score, stage in one streaming pass.

The decision is the pure part (`boltz_core.ingest`); this module brings it the bytes and the keys, keeps the lease
alive, and writes the outcome. Everything that can go wrong on our side gives the update back for another attempt;
only what the client sent can get it rejected.
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
from django.db import transaction

from apps.keys import services as keys
from apps.rounds import selectors, stores, versions
from apps.rounds.models import Round, Update
from apps.rounds.services import leases, lifecycle
from apps.rounds.services.transitions import log_decision
from boltz_core.ingest.segments import SEGMENT_PARAMETERS, SegmentSealer
from boltz_core.ingest.staging import StagedFacts, stage_update
from boltz_core.rounds.states import UpdateState
from boltz_protocol import envelope
from boltz_protocol.errors import SenderError
from boltz_protocol.tensors import Layout

logger = logging.getLogger(__name__)

STAGED_KEY_BYTES = 32


@dataclass(frozen=True)
class Staged:
    """What staging left behind: the facts, the file, and the wrapped key of its segments."""

    facts: StagedFacts
    path: Path
    wrapped_key: bytes


def process_update(update_id: str) -> None:
    """Claim an update and decide it. Nothing happens when there is nothing to claim; any number of calls do no harm."""
    lease = leases.claim(update_id)
    if lease is None:
        return
    update = selectors.find_update(update_id)
    try:
        decide(update, lease)
    except leases.LeaseLostError as error:
        logger.warning("%s", error)
    except Exception as error:
        # whatever it was, it was not the client; a MemoryError that kills the worker would kill the next one too
        logger.exception("update %s was given back: %s", update_id, type(error).__name__)
        leases.give_back(lease, type(error).__name__)
    lifecycle.advance_round(update.round_id)


def decide(update: Update, lease: leases.Lease) -> None:
    """Stage the update or reject it; one transaction writes the outcome and its log entry."""
    try:
        staged = stage(update, lease)
    except SenderError as error:
        if not stores.envelope_is_intact(update.body_sha256):
            raise stores.BlobMissingError(f"the envelope of update {update.pk} has changed on our disk") from error
        reject(update, lease, error)
        return
    try:
        accept(update, lease, staged)
    except leases.LeaseLostError:
        staged.path.unlink(missing_ok=True)
        raise


def reject(update: Update, lease: leases.Lease, error: SenderError) -> None:
    """PROCESSING -> REJECTED with a code and a reason that its client can read."""
    with transaction.atomic():
        leases.finish(lease, UpdateState.REJECTED, code=error.code, reason=printable(error.message))
        log_decision(update, {"outcome": "rejected", "code": error.code})


def printable(text: str) -> str:
    """A reason that may quote what the client sent: without control characters, one of which (NUL) no row can hold."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:300])


def accept(update: Update, lease: leases.Lease, staged: Staged) -> None:
    """PROCESSING -> STAGED with its claims, scores and key."""
    facts = staged.facts
    with transaction.atomic():
        leases.finish(
            lease,
            UpdateState.STAGED,
            claims=msgspec.to_builtins(facts.claims),
            examples=facts.claims.examples,
            norm=facts.norm,
            step_dot=facts.step_dot,
            staged_attempt=lease.attempt,
            staged_key=staged.wrapped_key,
        )
        log_decision(update, {"outcome": "staged", "norm": facts.norm, "examples": facts.claims.examples})


def stage(update: Update, lease: leases.Lease) -> Staged:
    """Open the envelope and write its sealed segments; the file is durable when this returns.

    Raises:
        SenderError: the envelope or what is in it is not acceptable.
    """
    round_, layout = update.round, update.round.model.tensor_layout()
    key = secrets.token_bytes(STAGED_KEY_BYTES)
    sealer = SegmentSealer(key, update_id=update.pk, attempt=lease.attempt, layout_digest=layout.digest)
    # first: a key that cannot be kept would leave a file that nobody can read
    wrapped = keys.key_store().seal(round_.staging_kid, key, stores.segment_context(update.pk, lease.attempt))
    target = stores.staged_path(round_.pk, update.pk, lease.attempt)
    keeper = leases.Keeper(lambda: leases.renew(lease))
    with stores.open_envelope(update.body_sha256) as sealed, stores.partial_file(stores.staging()) as file:
        opened = open_update(sealed, layout)
        with last_step_of(round_, layout) as last_step:
            facts = stage_update(
                opened,
                layout=layout,
                max_norm=round_.round_policy().max_norm,
                sealer=sealer,
                write=file.write,
                last_step=last_step,
                on_segment=lambda _index: keeper.keep(),
            )
        stores.publish_file(file, target)
    return Staged(facts, target, wrapped)


def open_update(sealed: BinaryIO, layout: Layout) -> envelope.OpenedEnvelope:
    """Unwrap the content key and begin to open the stream."""
    head = envelope.read_header(sealed.read)
    content_key = keys.key_store().unwrap(head.header.server_kid, head.wrapped_key)
    return envelope.open_sealed(head, sealed.read, content_key=content_key, layout=layout)


class last_step_of:  # noqa: N801 - reads as a phrase in a with statement
    """The last released step, segment by segment: base version minus the one before; None on version 0."""

    def __init__(self, round_: Round, layout: Layout) -> None:
        self._base = round_.base
        self._layout = layout
        self._readers: list[versions.WeightsReader] = []
        self._parts = [np.empty(SEGMENT_PARAMETERS, "<f4") for _ in range(2)]

    def __enter__(self) -> Callable[[int], np.ndarray] | None:
        if self._base is None or self._base.base is None:
            return None
        try:
            for version in (self._base, self._base.base):
                self._readers.append(versions.WeightsReader(version, self._layout))
        except BaseException:
            self.__exit__()
            raise
        return self._segment

    def _segment(self, index: int) -> np.ndarray:
        """Valid until the next one is asked for."""
        start = index * SEGMENT_PARAMETERS
        count = min(SEGMENT_PARAMETERS, self._layout.parameters - start)
        now, before = (part[:count] for part in self._parts)
        for reader, part in zip(self._readers, (now, before), strict=True):
            reader.read_into(start, part)
        return np.subtract(now, before, out=now)

    def __exit__(self, *_: object) -> None:
        for reader in self._readers:
            reader.close()
