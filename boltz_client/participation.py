"""Take part in one round, from its descriptor to a verified receipt: no crash or lost answer makes two updates of one.

Order: what was sent before; the descriptor; the base version; the data; only then joining, training, sealing. The
journal is written before each send. A refusal is taken at its word only after asking whether an earlier attempt had
arrived after all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from boltz_client import dataset, open_round, polling, receipts, trainers
from boltz_client.endpoints import model_path
from boltz_client.errors import (
    AlreadySubmittedError,
    FederatedClientError,
    LaterError,
    RefusedError,
    ServerUnreachableError,
    UnknownModelError,
    UntrustedMeshError,
)
from boltz_client.journal import JournalEntry
from boltz_client.member import Member
from boltz_client.receipts import Sent
from boltz_client.round_result import RoundResult
from boltz_client.trainers import Trainer
from boltz_client.update import TrainedUpdate, seal_update, train_update
from boltz_client.versions import KeptVersion
from boltz_protocol.messages import Participation, RoundDescriptor, SignedDocument

KEY_RETIRED = "encryption_key_retired"


@dataclass(frozen=True)
class Request:
    """What the caller asked for. Waits: False not at all, True as long as it takes, or seconds."""

    model: str
    data: Mapping[str, Any]
    round_number: int | None
    trainer: Trainer | None
    wait_for_open: bool | float
    wait_for_result: bool | float


def take_part(member: Member, request: Request) -> RoundResult:
    """Train and send one update, or find the one that was sent.

    Raises:
        FederatedClientError: see errors.py; whatever is raised, calling again is safe.
    """
    model_path(request.model)
    view = open_round.find_round(
        member, request.model, request.round_number, wait_seconds=polling.timeout_of(request.wait_for_open)
    )
    entry = sent_before(member, request.model, view.round)
    earlier = entry is not None
    if entry is None:
        descriptor = open_round.descriptor_in(member, view, model=request.model, number=request.round_number)
        entry = _train_and_send(member, request, descriptor)
    result = result_of(member, entry, resumed=earlier)
    if request.wait_for_result is False:
        return result
    return result.wait(polling.timeout_of(request.wait_for_result))


def sent_before(member: Member, model: str, number: int) -> JournalEntry | None:
    """The entry with its receipt, if the mesh holds what this home had sent; None if it has to be sent."""
    entry = _own_entry(member, model, number)
    if entry is None or entry.receipt is not None:
        return entry
    document = _receipt_held(member, entry)
    return None if document is None else _receipted(member, entry, document)


def result_of(member: Member, entry: JournalEntry, *, resumed: bool) -> RoundResult:
    """The typed result of a journal entry that has its receipt."""
    if entry.receipt is None:  # callers have just seen it
        raise AssertionError
    return RoundResult(
        model=entry.model,
        round=entry.round,
        upload_id=entry.upload_id,
        receipt=receipts.verify_receipt(entry.receipt, sent_in(entry), keys=member.keys),
        signed_receipt=entry.receipt,
        norm_sent=entry.norm_sent,
        clipped=entry.clipped,
        examples=entry.examples,
        invalid_share=entry.invalid_share,
        metrics=entry.metrics,
        resumed=resumed,
        status=None,
        _ask=lambda seconds: member.endpoints.update_status(
            entry.model, entry.round, entry.upload_id, wait_seconds=seconds
        ),
        _clock=member.clock,
    )


def sent_in(entry: JournalEntry) -> Sent:
    """What a receipt for this entry must speak of."""
    return Sent(entry.model, entry.round, entry.client_id, entry.upload_id, entry.sent)


def _train_and_send(member: Member, request: Request, descriptor: RoundDescriptor) -> JournalEntry:
    base = pull_base(member, descriptor)
    task = base.manifest.task
    trainer = request.trainer or trainers.default_trainer(task)
    examples = dataset.prepare(task, request.data)
    place = _join(member, descriptor)
    trained = train_update(
        base,
        examples,
        trainer,
        max_norm=descriptor.policy.max_norm,
        share_metrics=member.local_policy.share_metrics,
    )
    entry = JournalEntry(
        v=1,
        model=descriptor.model,
        round=descriptor.round,
        client_id=place.client_id,
        upload_id=place.upload_id,
        base_sha256=descriptor.base_sha256,
        sent=_sent_earlier(member, place),
        examples=examples.count,
        invalid_share=examples.invalid_share,
        norm_sent=trained.norm,
        clipped=trained.clipped,
        metrics=trained.metrics,
        receipt=None,
    )
    try:
        return _seal_and_send(member, descriptor, place, trained, entry)
    except RefusedError as refusal:
        if refusal.code != KEY_RETIRED:
            raise
        fresh = _with_fresh_key(member, descriptor, refusal)
    entry = structs.replace(entry, sent=_sent_earlier(member, place))
    return _seal_and_send(member, fresh, place, trained, entry)


def pull_base(member: Member, descriptor: RoundDescriptor) -> KeptVersion:
    """The version that the round builds on.

    Raises:
        UntrustedMeshError: descriptor and manifest disagree: someone wants an update on another base.
    """
    base = member.versions.at_hand(descriptor.model, descriptor.base_version, descriptor.base_sha256)
    if base is None:
        base = member.versions.pull(descriptor.model, descriptor.base_version)
    manifest = base.manifest
    if manifest.weights_sha256 != descriptor.base_sha256:
        raise UntrustedMeshError(
            f"the round's base has the digest {descriptor.base_sha256}, version {manifest.number} has "
            f"{manifest.weights_sha256}"
        )
    if manifest.layout_digest != descriptor.layout_digest or manifest.mode != descriptor.policy.mode:
        raise UntrustedMeshError("the round's descriptor names another layout or mode than the model's signed manifest")
    return base


def _join(member: Member, descriptor: RoundDescriptor) -> Participation:
    place = member.endpoints.join(descriptor.model, descriptor.round)
    expected = (descriptor.model, descriptor.round, member.record.id)
    if (place.model, place.round, place.client_id) != expected:
        raise UntrustedMeshError(f"joined {expected}, but the mesh answered for {place.model} round {place.round}")
    return place


def _own_entry(member: Member, model: str, number: int) -> JournalEntry | None:
    """The journal's entry; one of an earlier registration (another client id) counts for nothing."""
    entry = member.journal.read(model, number)
    return entry if entry is not None and entry.client_id == member.record.id else None


def _sent_earlier(member: Member, place: Participation) -> tuple[str, ...]:
    """Envelopes that an earlier call may have sent under the same upload id."""
    earlier = _own_entry(member, place.model, place.round)
    return earlier.sent if earlier is not None and earlier.upload_id == place.upload_id else ()


def _seal_and_send(
    member: Member, descriptor: RoundDescriptor, place: Participation, trained: TrainedUpdate, entry: JournalEntry
) -> JournalEntry:
    sealed = seal_update(trained, descriptor, place, client_kid=member.identity.kid, created_at=member.clock.utc())
    entry = entry.sealed(sealed.body_sha256.hex())
    member.journal.write(entry)
    try:
        document = member.endpoints.send_update(place, sealed.body, body_sha256=sealed.body_sha256)
    except ServerUnreachableError as error:
        raise ServerUnreachableError(
            f"{error.message} The update may or may not have arrived; call again: it finds out first."
        ) from error
    except (RefusedError, LaterError) as refusal:
        document = _taken_anyway(member, entry, refusal)
    return _receipted(member, entry, document)


def _taken_anyway(member: Member, entry: JournalEntry, refusal: FederatedClientError) -> SignedDocument:
    """The receipt, when an attempt whose answer was lost had arrived before the refusal; else the refusal itself."""
    document = _receipt_held(member, entry)
    if document is None:
        raise refusal
    try:
        receipts.verify_receipt(document, sent_in(entry), keys=member.keys)
    except UntrustedMeshError:
        if isinstance(refusal, AlreadySubmittedError):
            raise AlreadySubmittedError(
                f"this client's update for {entry.model} round {entry.round} was sent from another home or process; "
                "nothing was replaced",
                problem=refusal.problem,
            ) from refusal
        raise
    return document


def _receipt_held(member: Member, entry: JournalEntry) -> SignedDocument | None:
    try:
        return member.endpoints.update_status(entry.model, entry.round, entry.upload_id).receipt
    except UnknownModelError:
        return None


def _receipted(member: Member, entry: JournalEntry, document: SignedDocument) -> JournalEntry:
    receipts.verify_receipt(document, sent_in(entry), keys=member.keys)
    entry = entry.receipted(document)
    member.journal.write(entry)
    return entry


def _with_fresh_key(member: Member, descriptor: RoundDescriptor, refusal: RefusedError) -> RoundDescriptor:
    """The descriptor again, after its encryption key was retired: the same round under another key, or the refusal."""
    view = member.endpoints.round(descriptor.model, descriptor.round)
    fresh = open_round.descriptor_in(member, view, model=descriptor.model, number=descriptor.round)
    if structs.replace(fresh, encryption_key=descriptor.encryption_key) != descriptor:
        raise UntrustedMeshError("the round changed more than its encryption key while this client took part")
    if fresh.encryption_key.kid == descriptor.encryption_key.kid:
        raise refusal
    return fresh
