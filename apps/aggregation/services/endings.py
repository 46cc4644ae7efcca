"""How a run fails, and its round with it."""

from django.db import transaction
from django.db.models.functions import Now

from apps.aggregation.models import Run
from apps.audit import services as audit
from apps.rounds.models import Round
from apps.rounds.services.transitions import SYSTEM, move_round
from boltz_core.rounds.states import RoundState


def give_up(run: Run, reason: str) -> None:
    """End a run whose base version is damaged, and its round with it: another run would find the same."""
    with transaction.atomic():
        round_ = Round.objects.select_for_update(of=("self",)).select_related("model").get(pk=run.round_id)
        if round_.state != RoundState.AGGREGATING or round_.fence != run.fence:
            return
        Run.objects.filter(pk=run.pk, state="running").update(state="failed", ended_at=Now(), reason=reason[:200])
        fail_round(round_, reason)


def fail_round(round_: Round, reason: str) -> None:
    """AGGREGATING -> FAILED: an operator can run it again or abandon it."""
    move_round(round_, RoundState.AGGREGATING, RoundState.FAILED, reason=reason[:200])
    audit.append("round.failed", actor=SYSTEM, round=round_.label, detail={"reason": reason})
