"""A run: decide once, combine by parameter ranges, publish.

The decision (membership, order, weights) is written once, in the transaction that takes the fence. Shards are
combined by a chord when there is more than one; the chord is an accelerator: the barrier is the set of Shard rows, so
that a lost message, a doubled one or a member that was killed changes nothing but the time it takes.
"""

import contextlib
import hashlib
import logging
from datetime import timedelta

import celery
import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from apps import dispatch
from apps.aggregation.models import Run, Shard
from apps.aggregation.services import leases, membership, publication, shard_files
from apps.audit import services as audit
from apps.rounds import stores, versions
from apps.rounds.models import Round
from apps.rounds.selectors import staged_matrix
from apps.rounds.services import freezing
from apps.rounds.services.transitions import SYSTEM, move_round
from boltz_core.aggregation import combine, decision, server_step, shards
from boltz_core.ingest.segments import SEGMENT_PARAMETERS
from boltz_core.rounds.states import RoundState

logger = logging.getLogger(__name__)


def aggregate_round(round_id: int) -> None:
    """Begin a run of a frozen round, or take over one whose lease has run out; otherwise nothing happens."""
    run = begin_run(round_id)
    if run is None:
        return
    if run.shards == 1:
        combine_shard(run.pk, 0)
        publication.finish_run(run.pk)
    else:
        start_chord(run)


def begin_run(round_id: int) -> Run | None:
    """Take the fence and write the decision, in one transaction; None when there is nothing to run."""
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
    members = [
        decision.Member(update_id=pk, norm=norm, examples=examples)
        for pk, norm, examples in membership.staged_updates(round_).values_list("pk", "norm", "examples")
    ]
    policy = round_.round_policy()
    Run.objects.filter(round=round_, state="running").update(state="superseded", ended_at=Now())
    if len(members) < policy.quorum:
        reason = f"{len(members)} intact updates are left; the quorum is {policy.quorum}"
        freezing.end_without_version(round_, RoundState.AGGREGATING, reason)
        return None
    lost = Run.objects.filter(round=round_, state="superseded").count()
    if lost >= settings.BOLTZ_MAX_ATTEMPTS:
        publication.fail_round(round_, f"{lost} runs were lost")
        return None
    round_.fence += 1
    # from here on messages are counted anew: for this run, should it be lost
    Round.objects.filter(pk=round_.pk).update(fence=round_.fence, kicks=0, next_kick_at=leases.lease_end())
    decided = decision.decide(members, policy=policy)
    run = Run.objects.create(
        round=round_,
        fence=round_.fence,
        decision=decided.record(),
        members=len(members),
        shards=count_shards(round_),
        lease_expires_at=leases.lease_end(),
        next_kick_at=Now() + timedelta(seconds=settings.BOLTZ_RETRY_SECONDS),
    )
    audit.append(
        "run.begun",
        actor=SYSTEM,
        round=round_.label,
        detail={
            "fence": run.fence,
            "members": run.members,
            "shards": run.shards,
            "decision_sha256": decided.digest,
        },
    )
    return run


def count_shards(round_: Round) -> int:
    """How many parameter ranges a new run of this round has."""
    return len(shards.plan_shards(round_.model.parameters, min_parameters=settings.BOLTZ_SHARD_PARAMETERS))


def range_of(run: Run, number: int) -> shards.ParameterRange:
    """One range of a run; it follows from the number of shards that the run was begun with."""
    return shards.plan_shards(run.round.model.parameters, max_shards=run.shards, min_parameters=1)[number]


def start_chord(run: Run) -> None:
    """A task for each range, then the finish; what the broker does not take is done here."""
    app = celery.current_app
    header = [
        app.signature(dispatch.COMBINE_SHARD, args=[run.pk, number], immutable=True) for number in range(run.shards)
    ]
    try:
        celery.chord(header, app=app)(app.signature(dispatch.FINISH_RUN, args=[run.pk], immutable=True))
    except Exception as error:  # noqa: BLE001 - whatever the broker's client raises, the run is in Postgres
        dispatch.logger.warning("could not start the chord of %s: %s", run, type(error).__name__)
        continue_run(run)


def continue_run(run: Run) -> None:
    """Send what a running run still lacks: its missing shards, or its finish."""
    done = set(run.results.values_list("number", flat=True))
    missing = [number for number in range(run.shards) if number not in done]
    for number in missing:
        dispatch.kick(dispatch.COMBINE_SHARD, combine_shard, run.pk, number)
    if not missing or set(run.results.values_list("number", flat=True)) == set(range(run.shards)):
        dispatch.kick(dispatch.FINISH_RUN, publication.finish_run, run.pk)


def combine_shard(run_id: int, number: int) -> None:
    """Combine one range, exactly as decided, and write it once. Late, doubled or superseded calls do nothing."""
    run = Run.objects.select_related("round__model", "round__base").get(pk=run_id)
    if run.state != "running" or run.results.filter(number=number).exists():
        return
    span = range_of(run, number)
    try:
        sha256, step_square = write_shard(run, number, span)
    except leases.RunEndedError as error:
        logger.warning("%s", error)
        return
    except versions.DamagedVersionError as error:
        publication.give_up(run, error.message)
        return
    except stores.DamagedMemberError as error:
        if membership.remove_damaged(run, error):
            aggregate_round(run.round_id)
        return
    Shard.objects.bulk_create(
        [Shard(run=run, number=number, start=span.start, stop=span.stop, sha256=sha256, step_square=step_square)],
        ignore_conflicts=True,
    )


def write_shard(run: Run, number: int, span: shards.ParameterRange) -> tuple[str, float]:
    """Write the new weights of one range; returns their digest and the squared norm of the step there.

    Raises:
        RunEndedError: the run has ended meanwhile; the tick removes the file.
        DamagedVersionError: the base has changed on disk.
        DamagedMemberError: the segments of a member have.
    """
    decided = decision.Decision.from_record(run.decision)
    digest, square = hashlib.sha256(), 0.0
    weights = np.empty(SEGMENT_PARAMETERS, "<f4")
    with (
        staged_matrix(run.round, [member.update_id for member in decided.members]) as matrix,
        contextlib.closing(versions.WeightsReader(run.round.base, run.round.model.tensor_layout())) as base,
        shard_files.writing(run, number) as write,
    ):
        start = span.start
        for step in combine.combine_range(span, decided, renewing(run, matrix.open_segment)):
            square += float(np.dot(step, step))
            part = weights[: len(step)]
            base.read_into(start, part)
            server_step.apply_step(part, step)
            start += len(step)
            block = memoryview(part).cast("B")
            digest.update(block)
            write(block)
        leases.renew(run)
    return digest.hexdigest(), square


def renewing(run: Run, open_segment: combine.OpenSegment) -> combine.OpenSegment:
    """`open_segment` that keeps the run's lease, however long the range is."""
    lease = leases.keeper_of(run)

    def open_and_renew(member: int, segment: int, out: np.ndarray) -> None:
        lease.keep()
        open_segment(member, segment, out)

    return open_and_renew
