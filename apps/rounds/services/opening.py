"""The opening of a round: its schedule, its base version, its staging key and its signed descriptor."""

import hashlib
from datetime import datetime, timedelta

import msgspec
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.audit import services as audit
from apps.keys import services as keys
from apps.rounds import selectors
from apps.rounds.models import LIVE_ROUND_STATES, FederatedModel, ModelVersion, Round
from apps.rounds.services.transitions import SYSTEM, move_round
from boltz_core.rounds.states import RoundState, VersionState
from boltz_protocol import envelope
from boltz_protocol.encoding import from_base64url
from boltz_protocol.errors import NotNowError
from boltz_protocol.messages import RoundDescriptor, SignedDocument
from boltz_protocol.signing import Purpose


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
    start_if_due(round_, now=timezone.now())
    round_.refresh_from_db()
    return round_


def open_rounds_due() -> list[Round]:
    """Open the next round of every model that keeps itself open and has none; returns the rounds."""
    judged = selectors.verdicts_waiting().values("version__model")
    idle = FederatedModel.objects.filter(keeps_open=True).exclude(rounds__state__in=LIVE_ROUND_STATES)
    opened = []
    # a version that is about to be released is the base of the next round
    for model in idle.exclude(pk__in=judged):
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


def start_if_due(round_: Round, *, now: datetime) -> None:
    """Open a scheduled round whose time has come."""
    if round_.state == RoundState.SCHEDULED and round_.opens_at <= now:
        start(round_)


def start(round_: Round) -> None:
    """SCHEDULED -> OPEN: fix the base version, make the staging key, sign the descriptor and log its digest.

    Nothing happens while a candidate waits for its verdict, or when another version has become the current one
    meanwhile: the next look opens it.
    """
    if selectors.verdicts_waiting().filter(version__model=round_.model).exists():
        return
    base = ModelVersion.objects.get(model=round_.model, state=VersionState.CURRENT)
    round_.base = base
    signed = sign_descriptor(round_)
    # last: whatever fails above is tried again at each tick, and would leave a key behind each time
    staging_kid = keys.new_symmetric_key("staging")
    if not move_to_open(round_, base, staging_kid, signed):
        keys.key_store().destroy(staging_kid)
        round_.refresh_from_db()


def move_to_open(round_: Round, base: ModelVersion, staging_kid: str, signed: SignedDocument) -> bool:
    """SCHEDULED -> OPEN on a base that is still the current version; False when it is not, or somebody was faster."""
    with transaction.atomic():
        opened = move_round(
            round_,
            RoundState.SCHEDULED,
            RoundState.OPEN,
            base=base,
            staging_kid=staging_kid,
            descriptor=msgspec.to_builtins(signed),
        )
        if opened and not stays_current(base):
            transaction.set_rollback(True)
            return False
        if opened:
            log_descriptor("round.opened", round_, signed)
    return opened


def stays_current(base: ModelVersion) -> bool:
    """Whether a version is the current one; nobody changes that before the caller's transaction ends."""
    current = ModelVersion.objects.select_for_update(no_key=True).filter(pk=base.pk, state=VersionState.CURRENT)
    return bool(current.order_by())


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
