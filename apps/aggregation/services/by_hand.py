"""What an operator asks for: aggregate a round now, whatever state it is in."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from apps import dispatch
from apps.aggregation.models import Run
from apps.aggregation.services import runs
from apps.audit import services as audit
from apps.rounds.models import IN_WORK_STATES, Round
from apps.rounds.services import advance_round, process_update, seal_round
from apps.rounds.services.transitions import move_round
from boltz_core.rounds.states import ClientState, RoundState, UpdateState
from boltz_protocol.errors import NotNowError


def run_again(round_: Round, *, actor: str) -> None:
    """Aggregate now, by hand: a round that is open is sealed first, one that has failed gets a new run.

    Raises:
        NotNowError: `round_not_open`: it has ended, or is not open yet; `too_few_updates`: it is open and stays so.
    """
    if round_.state == RoundState.OPEN:
        check_quorum(round_)
        seal_round(round_, actor=actor)
        advance_round(round_.pk)
    elif round_.state == RoundState.FAILED:
        with transaction.atomic():
            again = timezone.now() + timedelta(seconds=dispatch.retry_seconds())
            fresh = {"reason": "", "next_kick_at": again, "kicks": 0}
            if move_round(round_, RoundState.FAILED, RoundState.AGGREGATING, **fresh):
                # they do not count against the new one
                Run.objects.filter(round=round_, state="superseded").update(state="failed", reason="lost")
                audit.append("round.run_again", actor=actor, round=round_.label, detail={})
        dispatch.send_on_commit(dispatch.AGGREGATE_ROUND, round_.pk)
    elif round_.state in {RoundState.SEALED, RoundState.FROZEN, RoundState.AGGREGATING}:
        advance_round(round_.pk)
        dispatch.send_on_commit(dispatch.AGGREGATE_ROUND, round_.pk)
    else:
        raise NotNowError(f"{round_} is {round_.state}; there is nothing to aggregate", code="round_not_open")


def check_quorum(round_: Round) -> None:
    """Refuse to seal by hand what would only be abandoned: the round stays open for others to take part."""
    may_count = [*IN_WORK_STATES, UpdateState.STAGED, UpdateState.QUARANTINED]
    hopeful = round_.updates.filter(state__in=may_count, client__state=ClientState.ACTIVE).count()
    quorum = round_.round_policy().quorum
    if hopeful < quorum:
        message = f"{round_} has {hopeful} updates and its quorum is {quorum}; it stays open. Abandon it to end it"
        raise NotNowError(message, code="too_few_updates")


def aggregate_now(round_: Round, *, actor: str) -> Round:
    """Aggregate a round in this process, from whatever state it is in: decide what waits, freeze, combine, publish.

    Raises:
        NotNowError: `round_not_open`: it is not open yet, or was abandoned; `too_few_updates`: it is open and stays so.
    """
    if round_.state == RoundState.PUBLISHED:
        return round_
    run_again(round_, actor=actor)
    # of those that are being processed, the ones whose worker was lost can be taken over
    for update_id in list(round_.updates.filter(state__in=IN_WORK_STATES).values_list("pk", flat=True)):
        process_update(update_id)
    advance_round(round_.pk)
    runs.aggregate_round(round_.pk)
    for run in Run.objects.filter(round=round_, state="running").select_related("round__model"):
        runs.carry_out(run)
    round_.refresh_from_db()
    return round_
