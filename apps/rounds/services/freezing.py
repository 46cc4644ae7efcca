"""The freeze of a round, which fixes its membership, and its end without a version."""

import hashlib
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps import dispatch
from apps.audit import services as audit
from apps.rounds.models import IN_WORK_STATES, Round
from apps.rounds.services.transitions import SYSTEM, log_decision, move_round, move_updates
from boltz_core.rounds.states import ClientState, RoundState, UpdateState
from boltz_protocol import codec
from boltz_protocol.errors import NotNowError

ABANDONABLE = {RoundState.SCHEDULED, RoundState.OPEN, RoundState.SEALED, RoundState.FROZEN, RoundState.FAILED}
# the code of an update whose client may not take part any more
BARRED = "client_suspended"


def freeze(round_: Round) -> None:
    """SEALED -> FROZEN when nothing is in work: the membership is fixed. Too few: ABANDONED."""
    with transaction.atomic():
        # an erasure locks the same row: members cannot vanish between the count and the freeze
        if Round.objects.select_for_update().get(pk=round_.pk).state != RoundState.SEALED:
            round_.refresh_from_db()
            return
        if round_.updates.filter(state__in=IN_WORK_STATES).exists():
            return
        expire_outsiders(round_)
        members = list(staged_members(round_))
        quorum = round_.round_policy().quorum
        if len(members) < quorum:
            end_without_version(round_, RoundState.SEALED, f"{len(members)} staged updates; the quorum is {quorum}")
        else:
            # by the clock by which it is looked for
            again = Now() + timedelta(seconds=dispatch.retry_seconds())
            move_round(round_, RoundState.SEALED, RoundState.FROZEN, frozen_at=timezone.now(), next_kick_at=again)
            dispatch.send_on_commit(dispatch.AGGREGATE_ROUND, round_.pk)
            audit.append(
                "round.frozen",
                actor=SYSTEM,
                round=round_.label,
                detail={"members": len(members), "membership_root": membership_root(members)},
            )


def expire_outsiders(round_: Round) -> None:
    """Whoever is not in when the membership is fixed: set aside, stalled, or sent by who may not take part any more."""
    ended = {"wanted": UpdateState.EXPIRED, "decided_at": timezone.now()}
    move_updates(round_.updates.all(), [UpdateState.QUARANTINED, UpdateState.STALLED], **ended)
    staged = round_.updates.filter(state=UpdateState.STAGED).exclude(client__state=ClientState.ACTIVE)
    # looked at once: a client that is resumed meanwhile is either moved and logged, or neither
    barred = list(staged.select_related("client", "round__model"))
    reason = "its client was suspended or revoked before the round was frozen"
    rows = round_.updates.filter(pk__in=[update.pk for update in barred])
    move_updates(rows, [UpdateState.STAGED], code=BARRED, reason=reason, **ended)
    for update in barred:
        log_decision(update, {"outcome": "expired", "code": BARRED})


def staged_members(round_: Round) -> Any:
    """The ids and digests of a round's staged updates, in id order."""
    return round_.updates.filter(state=UpdateState.STAGED).order_by("id").values_list("id", "body_sha256")


def membership_root(members: list[tuple[str, str]]) -> str:
    """A digest that commits to who is in the round with which bytes."""
    return hashlib.sha256(codec.encode([list(member) for member in members])).hexdigest()


def end_without_version(round_: Round, expected: RoundState, reason: str, *, actor: str = SYSTEM) -> bool:
    """Move a round to ABANDONED, its staged updates to EXPIRED, in the caller's transaction."""
    ended = move_round(round_, expected, RoundState.ABANDONED, ended_at=timezone.now(), reason=reason)
    if ended:
        expired = {"wanted": UpdateState.EXPIRED, "decided_at": timezone.now()}
        undecided = [*IN_WORK_STATES, UpdateState.STAGED, UpdateState.QUARANTINED]
        move_updates(round_.updates.all(), undecided, reason="the round was abandoned", **expired)
        # it keeps its own reason
        move_updates(round_.updates.all(), [UpdateState.STALLED], **expired)
        audit.append("round.abandoned", actor=actor, round=round_.label, detail={"reason": reason})
        dispatch.send_on_commit(dispatch.TICK)
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
