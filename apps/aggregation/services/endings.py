"""How a run ends without a version, and its round with it."""

from django.db import transaction
from django.db.models.functions import Now

from apps.aggregation.models import Run
from apps.audit import services as audit
from apps.rounds.models import Round
from apps.rounds.services import freezing
from apps.rounds.services.transitions import SYSTEM, move_round
from boltz_core.rounds.states import RoundState


def give_up(run: Run, reason: str) -> None:
    """End a run whose base version is damaged, and its round with it: another run would find the same."""
    with transaction.atomic():
        round_ = end_run(run, reason)
        if round_ is not None:
            fail_round(round_, reason)


def abandon(run: Run, reason: str) -> None:
    """End a run whose members are too few for the policy, and its round with it."""
    with transaction.atomic():
        round_ = end_run(run, reason)
        if round_ is not None:
            freezing.end_without_version(round_, RoundState.AGGREGATING, reason)


def end_run(run: Run, reason: str) -> Round | None:
    """End a run in the caller's transaction; its locked round, if this is the run that its fence names."""
    round_ = Round.objects.select_for_update(of=("self",)).select_related("model").get(pk=run.round_id)
    if round_.state != RoundState.AGGREGATING or round_.fence != run.fence:
        return None
    Run.objects.filter(pk=run.pk, state="running").update(state="failed", ended_at=Now(), reason=reason[:200])
    return round_


def fail_round(round_: Round, reason: str) -> None:
    """AGGREGATING -> FAILED: an operator can run it again or abandon it."""
    move_round(round_, RoundState.AGGREGATING, RoundState.FAILED, reason=reason[:200])
    audit.append("round.failed", actor=SYSTEM, round=round_.label, detail={"reason": reason})
