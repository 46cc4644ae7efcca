"""The beginning of a run: take the fence, and decide where that is possible already.

What needs no more than recorded norms and example counts is decided in the transaction that takes the fence. A rule
that looks at how members lie to each other is decided after a first pass has measured them (measuring.py). Either way
the decision is written once.
"""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from apps.aggregation.models import Run
from apps.aggregation.services import deciding, endings, leases
from apps.audit import services as audit
from apps.rounds.models import Round
from apps.rounds.services import freezing
from apps.rounds.services.transitions import SYSTEM, move_round
from boltz_core.aggregation import shards
from boltz_core.aggregation.errors import ConditionError, TooFewUpdatesError
from boltz_core.rounds.states import RoundState


def begin_run(round_id: int) -> Run | None:
    """Take the fence and open the run, in one transaction; None when there is nothing to run."""
    with transaction.atomic():
        round_ = Round.objects.select_for_update(of=("self",)).select_related("model").get(pk=round_id)
        if round_.state == RoundState.AGGREGATING:
            if Run.objects.filter(
                round=round_, fence=round_.fence, state="running", lease_expires_at__gt=Now()
            ).exists():
                return None
        elif not move_round(round_, RoundState.FROZEN, RoundState.AGGREGATING):
            return None
        return new_run(round_)


def new_run(round_: Round) -> Run | None:
    """The next run of a locked round; None when it has failed too often, or too few members are left."""
    Run.objects.filter(round=round_, state="running").update(state="superseded", ended_at=Now())
    try:
        case = deciding.case_of(round_)
        decided = None if case.plan.needs_geometry else deciding.decide(case)
    except (TooFewUpdatesError, ConditionError) as error:
        freezing.end_without_version(round_, RoundState.AGGREGATING, error.message)
        return None
    lost = Run.objects.filter(round=round_, state="superseded").count()
    if lost >= settings.BOLTZ_MAX_ATTEMPTS:
        endings.fail_round(round_, f"{lost} runs were lost")
        return None
    round_.fence += 1
    # from here on messages are counted anew: for this run, should it be lost
    Round.objects.filter(pk=round_.pk).update(fence=round_.fence, kicks=0, next_kick_at=leases.lease_end())
    run = Run.objects.create(
        round=round_,
        fence=round_.fence,
        decision=decided.record() if decided else None,
        members=len(case.members),
        shards=count_shards(round_),
        lease_expires_at=leases.lease_end(),
        next_kick_at=Now() + timedelta(seconds=settings.BOLTZ_RETRY_SECONDS),
    )
    detail = {"fence": run.fence, "members": run.members, "shards": run.shards}
    audit.append("run.begun", actor=SYSTEM, round=round_.label, detail=detail | deciding.digests_of(decided))
    return run


def count_shards(round_: Round) -> int:
    """How many parameter ranges a new run of this round has."""
    return len(shards.plan_shards(round_.model.parameters, min_parameters=settings.BOLTZ_SHARD_PARAMETERS))
