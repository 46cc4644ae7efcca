"""The members of a frozen round: who is in, and who has to go because we have damaged what was kept of it."""

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from apps.aggregation.models import Run
from apps.audit import services as audit
from apps.rounds import stores
from apps.rounds.models import Round, Update
from apps.rounds.services.transitions import SYSTEM, move_updates
from boltz_core.rounds.states import RoundState, UpdateState
from boltz_protocol.errors import ServerFaultError


class StagingLostError(ServerFaultError):
    """All members' files are missing: a disk that is not there, not so many damaged files.

    Nobody is removed for that. The run counts as lost, and after some of them the round waits for an operator.
    """

    default_code = "staging_lost"


def staged_updates(round_: Round) -> QuerySet[Update]:
    """The members of a frozen round, in id order."""
    return Update.objects.filter(round=round_, state=UpdateState.STAGED).order_by("pk")


def remove_damaged(run: Run, error: stores.DamagedMemberError) -> bool:
    """A member's segments are damaged on our side: its run ends, and the round goes on without it; logged.

    True when the next run can begin. Members whose files are missing or cut go with it: not each of them costs a run.

    Raises:
        StagingLostError: no member's file is there.
    """
    with transaction.atomic():
        round_ = Round.objects.select_for_update(of=("self",)).select_related("model").get(pk=run.round_id)
        if round_.state != RoundState.AGGREGATING or round_.fence != run.fence:
            return False
        members = list(staged_updates(round_).select_related("client"))
        whole = {member.pk for member in members if is_whole(member, round_)}
        if not whole:
            raise StagingLostError(f"no staged file of {round_} is there; is its directory?")
        ended = Run.objects.filter(pk=run.pk, state="running")
        if not ended.update(state="failed", ended_at=Now(), reason=error.message[:200]):
            return False
        for member in members:
            if member.pk == error.update_id or member.pk not in whole:
                expire_member(member, round_, error.code)
    return True


def is_whole(update: Update, round_: Round) -> bool:
    """Whether a member's staged file is there in its full length."""
    path = stores.staged_path(round_.pk, update.pk, update.staged_attempt or 0)
    return stores.staged_is_whole(path, round_.model.parameters)


def expire_member(update: Update, round_: Round, reason: str) -> None:
    """STAGED -> EXPIRED for a fault of our own, in the caller's transaction."""
    move_updates(
        Update.objects.filter(pk=update.pk),
        [UpdateState.STAGED],
        UpdateState.EXPIRED,
        code="server_fault",
        reason="its staged segments were damaged on our disk",
        decided_at=Now(),
    )
    audit.append(
        "member.removed",
        actor=SYSTEM,
        subject=update.client.pseudonym,
        round=round_.label,
        detail={"upload_id": update.pk, "reason": reason},
    )
