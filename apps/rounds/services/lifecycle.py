"""A round from its opening to its freeze.

`advance_round` looks at the row and takes every step that is due; it may be called at any time, by anyone, any number
of times. Each step is a conditional write: rows updated was not 1 means that someone else has taken it.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Any, NoReturn

import msgspec
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from apps import dispatch
from apps.audit import services as audit
from apps.keys import services as keys
from apps.rounds.models import IN_WORK_STATES, LIVE_ROUND_STATES, FederatedModel, ModelVersion, Round, Update
from boltz_core.rounds.states import ROUND, RoundState, UpdateState, VersionState, check_transition
from boltz_protocol import codec, envelope
from boltz_protocol.encoding import from_base64url
from boltz_protocol.errors import NotNowError
from boltz_protocol.messages import RoundDescriptor, SignedDocument
from boltz_protocol.signing import Purpose

SYSTEM = "system"
ABANDONABLE = {RoundState.SCHEDULED, RoundState.OPEN, RoundState.SEALED, RoundState.FROZEN, RoundState.FAILED}
ADVANCE = "rounds.advance_round"
AGGREGATE = "aggregation.aggregate_round"
PROCESS = "rounds.process_update"


def change_state(round_: Round, expected: RoundState, state: RoundState, **fields: Any) -> bool:
    """Move a round from `expected` to `state`; False when it was no longer in `expected`."""
    check_transition(ROUND, expected, state)
    changed = Round.objects.filter(pk=round_.pk, state=expected).update(state=state, **fields)
    if changed:
        round_.state = state
        for name, value in fields.items():
            setattr(round_, name, value)
    return changed == 1


def open_round(model: FederatedModel, *, opens_at: datetime | None = None, actor: str = SYSTEM) -> Round:
    """Schedule the model's next round, and open it when its time has come.

    Raises:
        NotNowError: `round_live`: the model has a round that has not ended.
    """
    opens_at = opens_at or timezone.now()
    policy = model.round_policy()
    try:
        with transaction.atomic():
            last = Round.objects.filter(model=model).order_by("-number").first()
            round_ = Round.objects.create(
                model=model,
                number=last.number + 1 if last else 1,
                policy=model.policy,
                opens_at=opens_at,
                closes_at=opens_at + timedelta(seconds=policy.round_seconds),
            )
            audit.append("round.scheduled", actor=actor, round=round_.label, detail={"opens_at": opens_at.isoformat()})
    except IntegrityError as error:
        message = f"{model} has a round that has not ended; seal or abandon it first"
        raise NotNowError(message, code="round_live") from error
    advance_round(round_.pk)
    round_.refresh_from_db()
    return round_


def open_rounds_due() -> list[Round]:
    """Open the next round of every model that keeps itself open and has none; returns the rounds."""
    idle = FederatedModel.objects.filter(keeps_open=True).exclude(rounds__state__in=LIVE_ROUND_STATES)
    opened = []
    for model in idle:
        try:
            opened.append(open_round(model, opens_at=next_opening(model)))
        except NotNowError:
            continue  # another process was first
    return opened


def next_opening(model: FederatedModel) -> datetime:
    """When the model's next round opens: a pause after its last one ended."""
    last = Round.objects.filter(model=model, ended_at__isnull=False).order_by("-number").first()
    if last is None or last.ended_at is None:
        return timezone.now()
    return max(timezone.now(), last.ended_at + timedelta(seconds=model.pause_seconds))


def advance_round(round_id: int) -> None:
    """Take every step that is due for a round: open, seal, freeze (or abandon), and ask for its aggregation."""
    round_ = Round.objects.select_related("model", "base").get(pk=round_id)
    if round_.state == RoundState.SCHEDULED and round_.opens_at <= timezone.now():
        start(round_)
    if round_.state == RoundState.OPEN and is_over(round_):
        seal_round(round_, actor=SYSTEM)
    if round_.state == RoundState.SEALED:
        freeze(round_)


def start(round_: Round) -> None:
    """SCHEDULED -> OPEN: fix the base version, make the staging key, sign the descriptor and log its digest."""
    base = ModelVersion.objects.get(model=round_.model, state=VersionState.CURRENT)
    round_.base = base
    staging_kid = keys.new_symmetric_key("staging")
    signed = sign_descriptor(round_)
    with transaction.atomic():
        opened = change_state(
            round_,
            RoundState.SCHEDULED,
            RoundState.OPEN,
            base=base,
            staging_kid=staging_kid,
            descriptor=msgspec.to_builtins(signed),
        )
        if opened:
            log_descriptor("round.opened", round_, signed)
    if not opened:
        keys.key_store().destroy(staging_kid)
        round_.refresh_from_db()


def sign_descriptor(round_: Round) -> SignedDocument:
    """The round's descriptor with the encryption key of today, signed."""
    model, base = round_.model, round_.base
    assert base is not None  # noqa: S101 - set by `start` before anything else
    return keys.sign_document(
        RoundDescriptor(
            v=1,
            model=model.name,
            round=round_.number,
            base_version=base.number,
            base_sha256=base.weights_sha256,
            layout_digest=model.layout_digest,
            policy=round_.round_policy(),
            encryption_key=keys.encryption_key().jwk(),
            max_envelope_bytes=envelope.max_envelope_bytes(model.tensor_layout()),
            opens_at=round_.opens_at,
            closes_at=round_.closes_at,
        ),
        Purpose.DESCRIPTOR,
    )


def log_descriptor(kind: str, round_: Round, signed: SignedDocument) -> None:
    """Put the digest of a descriptor into the log, so that two clients cannot be given two rounds."""
    digest = hashlib.sha256(from_base64url(signed.payload)).hexdigest()
    audit.append(kind, actor=SYSTEM, round=round_.label, detail={"descriptor_sha256": digest})


def hold_open(round_: Round) -> None:
    """Keep a round open until the caller's transaction ends: sealing waits for this lock, so nothing comes after it.

    Raises:
        NotNowError: `round_not_open` before its time, `round_sealed` after it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM rounds_round WHERE id = %s AND state = %s AND closes_at > now() FOR SHARE",
            [round_.pk, RoundState.OPEN],
        )
        if cursor.fetchone() is None:
            refuse_closed(round_)


def refuse_closed(round_: Round) -> NoReturn:
    """Say whether a round is not open yet, or no more."""
    if round_.state == RoundState.SCHEDULED:
        raise NotNowError(f"{round_} opens at {round_.opens_at.isoformat()}", code="round_not_open")
    raise NotNowError(f"{round_} takes no more updates", code="round_sealed")


def is_over(round_: Round) -> bool:
    """Whether the deadline has passed or the target is reached.

    Accepted envelopes count, not staged ones: whether one update is valid must not decide who else is in.
    """
    return round_.closes_at <= timezone.now() or round_.updates.count() >= round_.round_policy().target


def seal_round(round_: Round, *, actor: str) -> None:
    """OPEN -> SEALED: no more uploads.

    Raises:
        NotNowError: `round_not_open` when an operator asks and it is not open.
    """
    with transaction.atomic():
        if change_state(round_, RoundState.OPEN, RoundState.SEALED, sealed_at=timezone.now()):
            audit.append("round.sealed", actor=actor, round=round_.label, detail={"accepted": round_.updates.count()})
        elif actor != SYSTEM:
            raise NotNowError(f"{round_} is {round_.state}, not open", code="round_not_open")
        else:
            round_.refresh_from_db()
    dispatch.send_on_commit(ADVANCE, round_.pk)


def freeze(round_: Round) -> None:
    """SEALED -> FROZEN when nothing is in work: the membership is fixed. Too few: ABANDONED."""
    with transaction.atomic():
        # an erasure locks the same row: members cannot vanish between the count and the freeze
        if Round.objects.select_for_update().get(pk=round_.pk).state != RoundState.SEALED:
            round_.refresh_from_db()
            return
        if round_.updates.filter(state__in=IN_WORK_STATES).exists():
            return
        round_.updates.filter(state=UpdateState.QUARANTINED).update(
            state=UpdateState.EXPIRED, decided_at=timezone.now()
        )
        members = list(staged_members(round_))
        quorum = round_.round_policy().quorum
        if len(members) < quorum:
            end_without_version(round_, RoundState.SEALED, f"{len(members)} staged updates; the quorum is {quorum}")
        else:
            now = timezone.now()
            again = now + timedelta(seconds=dispatch.retry_seconds())
            change_state(round_, RoundState.SEALED, RoundState.FROZEN, frozen_at=now, next_kick_at=again)
            dispatch.send_on_commit(AGGREGATE, round_.pk)
            audit.append(
                "round.frozen",
                actor=SYSTEM,
                round=round_.label,
                detail={"members": len(members), "membership_root": membership_root(members)},
            )


def staged_members(round_: Round) -> Any:
    """The ids and digests of a round's staged updates, in id order."""
    return round_.updates.filter(state=UpdateState.STAGED).order_by("id").values_list("id", "body_sha256")


def membership_root(members: list[tuple[str, str]]) -> str:
    """A digest that commits to who is in the round with which bytes."""
    return hashlib.sha256(codec.encode([list(member) for member in members])).hexdigest()


def end_without_version(round_: Round, expected: RoundState, reason: str, *, actor: str = SYSTEM) -> bool:
    """Move a round to ABANDONED, its staged updates to EXPIRED, in the caller's transaction."""
    ended = change_state(round_, expected, RoundState.ABANDONED, ended_at=timezone.now(), reason=reason)
    if ended:
        Update.objects.filter(
            round=round_, state__in=[*IN_WORK_STATES, UpdateState.STAGED, UpdateState.QUARANTINED]
        ).update(state=UpdateState.EXPIRED, decided_at=timezone.now(), reason="the round was abandoned")
        audit.append("round.abandoned", actor=actor, round=round_.label, detail={"reason": reason})
        dispatch.send_on_commit("aggregation.tick")
    return ended


def abandon_round(round_: Round, *, actor: str, reason: str) -> None:
    """End a round without a version, by hand: before its aggregation has begun, or after it has failed.

    Raises:
        NotNowError: `round_not_open`: it has ended or is being aggregated.
    """
    with transaction.atomic():
        locked = Round.objects.select_for_update().get(pk=round_.pk)
        if RoundState(locked.state) not in ABANDONABLE:
            raise NotNowError(f"{round_} is {locked.state}; it can no longer be abandoned", code="round_not_open")
        end_without_version(locked, RoundState(locked.state), reason, actor=actor)
    round_.refresh_from_db()
