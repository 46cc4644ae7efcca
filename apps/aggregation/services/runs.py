"""A run: decide once, combine by parameter ranges, publish.

The decision (membership, order, weights) is written once, in the transaction that takes the fence. Shards are
combined by a chord when there is more than one; the chord is an accelerator: the barrier is the set of Shard rows, so
that a lost message, a doubled one or a member that was killed changes nothing but the time it takes.
"""

import hashlib
import logging
import time
from datetime import timedelta

import celery
import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps import dispatch
from apps.aggregation.models import Run, Shard
from apps.aggregation.services import publication
from apps.audit import services as audit
from apps.rounds import stores
from apps.rounds.models import IN_WORK_STATES, Round, Update
from apps.rounds.selectors import staged_matrix
from apps.rounds.services import lifecycle, process_update
from boltz_core.aggregation import combine, decision, shards
from boltz_core.rounds.states import RoundState, UpdateState
from boltz_protocol.errors import NotNowError, ServerFaultError

logger = logging.getLogger(__name__)

COMBINE = "aggregation.combine_shard"
FINISH = "aggregation.finish_run"


class RunEndedError(ServerFaultError):
    """The run has ended while a shard of it was being combined; what was done is thrown away."""

    default_code = "run_ended"


class StagingLostError(ServerFaultError):
    """All members' files are missing: a disk that is not there, not so many damaged files.

    Nobody is removed for that. The run counts as lost, and after some of them the round waits for an operator.
    """

    default_code = "staging_lost"


def lease_end() -> Now:
    """When a run's lease taken or renewed now ends, by the database's clock."""
    return Now() + timedelta(seconds=settings.BOLTZ_LEASE_SECONDS)


def renew(run: Run) -> None:
    """Extend the lease of a run.

    Raises:
        RunEndedError: it is not running any more.
    """
    if Run.objects.filter(pk=run.pk, state="running").update(lease_expires_at=lease_end()) != 1:
        raise RunEndedError(f"{run} has ended")


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
        elif not lifecycle.change_state(round_, RoundState.FROZEN, RoundState.AGGREGATING):
            return None
        return new_run(round_)


def new_run(round_: Round) -> Run | None:
    """The next run of a locked round; None when it has failed too often, or too few members are left."""
    members = [
        decision.Member(update_id=pk, norm=norm, examples=examples)
        for pk, norm, examples in staged_updates(round_).values_list("pk", "norm", "examples")
    ]
    policy = round_.round_policy()
    Run.objects.filter(round=round_, state="running").update(state="superseded", ended_at=Now())
    if len(members) < policy.quorum:
        reason = f"{len(members)} intact updates are left; the quorum is {policy.quorum}"
        lifecycle.end_without_version(round_, RoundState.AGGREGATING, reason)
        return None
    lost = Run.objects.filter(round=round_, state="superseded").count()
    if lost >= settings.BOLTZ_MAX_ATTEMPTS:
        fail_round(round_, f"{lost} runs were lost")
        return None
    round_.fence += 1
    # from here on messages are counted anew: for this run, should it be lost
    Round.objects.filter(pk=round_.pk).update(fence=round_.fence, kicks=0, next_kick_at=lease_end())
    decided = decision.decide(members, policy=policy)
    run = Run.objects.create(
        round=round_,
        fence=round_.fence,
        decision=decided.record(),
        members=len(members),
        shards=count_shards(round_),
        lease_expires_at=lease_end(),
        next_kick_at=Now() + timedelta(seconds=settings.BOLTZ_RETRY_SECONDS),
    )
    audit.append(
        "run.begun",
        actor=lifecycle.SYSTEM,
        round=round_.label,
        detail={"fence": run.fence, "members": run.members, "shards": run.shards, "decision": run.decision},
    )
    return run


def staged_updates(round_: Round):  # noqa: ANN201 - a queryset
    """The members of a frozen round, in id order."""
    return Update.objects.filter(round=round_, state=UpdateState.STAGED).order_by("pk")


def fail_round(round_: Round, reason: str) -> None:
    """AGGREGATING -> FAILED: an operator can run it again or abandon it."""
    lifecycle.change_state(round_, RoundState.AGGREGATING, RoundState.FAILED, reason=reason)
    audit.append("round.failed", actor=lifecycle.SYSTEM, round=round_.label, detail={"reason": reason})


def run_again(round_: Round, *, actor: str) -> None:
    """Aggregate now, by hand: a round that is open is sealed first, one that has failed gets a new run.

    Raises:
        NotNowError: `round_not_open`: it has ended, or is not open yet; `too_few_updates`: it is open and stays so.
    """
    if round_.state == RoundState.OPEN:
        check_quorum(round_)
        lifecycle.seal_round(round_, actor=actor)
        lifecycle.advance_round(round_.pk)
    elif round_.state == RoundState.FAILED:
        with transaction.atomic():
            again = timezone.now() + timedelta(seconds=dispatch.retry_seconds())
            fresh = {"reason": "", "next_kick_at": again, "kicks": 0}
            if lifecycle.change_state(round_, RoundState.FAILED, RoundState.AGGREGATING, **fresh):
                # they do not count against the new one
                Run.objects.filter(round=round_, state="superseded").update(state="failed", reason="lost")
                audit.append("round.run_again", actor=actor, round=round_.label, detail={})
        dispatch.send_on_commit(lifecycle.AGGREGATE, round_.pk)
    elif round_.state in {RoundState.SEALED, RoundState.FROZEN, RoundState.AGGREGATING}:
        lifecycle.advance_round(round_.pk)
        dispatch.send_on_commit(lifecycle.AGGREGATE, round_.pk)
    else:
        raise NotNowError(f"{round_} is {round_.state}; there is nothing to aggregate", code="round_not_open")


def check_quorum(round_: Round) -> None:
    """Refuse to seal by hand what would only be abandoned: the round stays open for others to take part."""
    hopeful = round_.updates.filter(state__in=[*IN_WORK_STATES, UpdateState.STAGED, UpdateState.QUARANTINED]).count()
    quorum = round_.round_policy().quorum
    if hopeful < quorum:
        message = f"{round_} has {hopeful} updates and its quorum is {quorum}; it stays open. Abandon it to end it"
        raise NotNowError(message, code="too_few_updates")


def count_shards(round_: Round) -> int:
    """How many parameter ranges a new run of this round has."""
    return len(shards.plan_shards(round_.model.parameters, min_parameters=settings.BOLTZ_SHARD_PARAMETERS))


def range_of(run: Run, number: int) -> shards.ParameterRange:
    """One range of a run; it follows from the number of shards that the run was begun with."""
    return shards.plan_shards(run.round.model.parameters, max_shards=run.shards, min_parameters=1)[number]


def start_chord(run: Run) -> None:
    """A task for each range, then the finish; what the broker does not take is done here."""
    app = celery.current_app
    header = [app.signature(COMBINE, args=[run.pk, number], immutable=True) for number in range(run.shards)]
    try:
        celery.chord(header, app=app)(app.signature(FINISH, args=[run.pk], immutable=True))
    except Exception as error:  # noqa: BLE001 - whatever the broker's client raises, the run is in Postgres
        dispatch.logger.warning("could not start the chord of %s: %s", run, type(error).__name__)
        continue_run(run)


def continue_run(run: Run) -> None:
    """Send what a running run still lacks: its missing shards, or its finish."""
    done = set(run.results.values_list("number", flat=True))
    missing = [number for number in range(run.shards) if number not in done]
    for number in missing:
        dispatch.kick(COMBINE, combine_shard, run.pk, number)
    if not missing or set(run.results.values_list("number", flat=True)) == set(range(run.shards)):
        dispatch.kick(FINISH, publication.finish_run, run.pk)


def combine_shard(run_id: int, number: int) -> None:
    """Combine one range, exactly as decided, and write it once. Late, doubled or superseded calls do nothing."""
    run = Run.objects.select_related("round__model").get(pk=run_id)
    if run.state != "running" or run.results.filter(number=number).exists():
        return
    span = range_of(run, number)
    decided = decision.Decision.from_record(run.decision)
    try:
        renew(run)
        with staged_matrix(run.round, [member.update_id for member in decided.members]) as matrix:
            step = combine.combine_range(span, decided, renewing(run, matrix.open_segment))
        write_shard(run, number, span, step)
    except RunEndedError as error:
        logger.warning("%s", error)
    except stores.DamagedMemberError as error:
        remove_member(run, error)


def renewing(run: Run, open_segment: combine.OpenSegment) -> combine.OpenSegment:
    """`open_segment` that renews the run's lease three times in its length, however long the range is."""
    pause = settings.BOLTZ_LEASE_SECONDS / 3
    renewed = time.monotonic()

    def open_and_renew(member: int, segment: int, out: np.ndarray) -> None:
        nonlocal renewed
        if time.monotonic() - renewed >= pause:
            renew(run)
            renewed = time.monotonic()
        open_segment(member, segment, out)

    return open_and_renew


def write_shard(run: Run, number: int, span: shards.ParameterRange, step: np.ndarray) -> None:
    """Store a combined range durably, then its row; the row is inserted once.

    Raises:
        RunEndedError: the run has ended meanwhile; the tick removes the file.
    """
    raw = memoryview(step).cast("B")
    path = publication.shard_path(run.pk, number)
    with stores.partial_file(path.parent) as file:
        file.write(raw)
        stores.publish_file(file, path)
    Shard.objects.bulk_create(
        [Shard(run=run, number=number, start=span.start, stop=span.stop, sha256=hashlib.sha256(raw).hexdigest())],
        ignore_conflicts=True,
    )
    renew(run)


def remove_member(run: Run, error: stores.DamagedMemberError) -> None:
    """A member's segments are damaged on our side: the round goes on without it, under a new fence; logged.

    Members whose files are missing or cut go with it, so that not each of them costs a run.

    Raises:
        StagingLostError: no member's file is there.
    """
    with transaction.atomic():
        round_ = Round.objects.select_for_update(of=("self",)).select_related("model").get(pk=run.round_id)
        if round_.state != RoundState.AGGREGATING or round_.fence != run.fence:
            return
        members = list(staged_updates(round_).select_related("client"))
        whole = {member.pk for member in members if is_whole(member, round_)}
        if not whole:
            raise StagingLostError(f"no staged file of {round_} is there; is its directory?")
        ended = Run.objects.filter(pk=run.pk, state="running")
        if not ended.update(state="failed", ended_at=Now(), reason=error.message[:200]):
            return
        for member in members:
            if member.pk == error.update_id or member.pk not in whole:
                expire_member(member, round_, error.code)
    aggregate_round(run.round_id)


def is_whole(update: Update, round_: Round) -> bool:
    """Whether a member's staged file is there in its full length."""
    path = stores.staged_path(round_.pk, update.pk, update.staged_attempt or 0)
    return stores.staged_is_whole(path, round_.model.parameters)


def expire_member(update: Update, round_: Round, reason: str) -> None:
    """STAGED -> EXPIRED for a fault of our own, in the caller's transaction."""
    Update.objects.filter(pk=update.pk, state=UpdateState.STAGED).update(
        state=UpdateState.EXPIRED, code="server_fault", reason="its staged segments were damaged on our disk"
    )
    audit.append(
        "member.removed",
        actor=lifecycle.SYSTEM,
        subject=update.client.pseudonym,
        round=round_.label,
        detail={"upload_id": update.pk, "reason": reason},
    )


def aggregate_now(round_: Round, *, actor: str) -> Round:
    """Aggregate a round in this process, from whatever state it is in: decide what waits, freeze, combine, publish.

    Raises:
        NotNowError: `round_not_open`: it is not open yet, or was abandoned; `too_few_updates`: it is open and stays so.
    """
    if round_.state == RoundState.PUBLISHED:
        return round_
    run_again(round_, actor=actor)
    for update_id in list(round_.updates.filter(state=UpdateState.RECEIVED).values_list("pk", flat=True)):
        process_update(update_id)
    lifecycle.advance_round(round_.pk)
    aggregate_round(round_.pk)
    for run in Run.objects.filter(round=round_, state="running").select_related("round__model"):
        for number in range(run.shards):
            combine_shard(run.pk, number)
        publication.finish_run(run.pk)
    round_.refresh_from_db()
    return round_
