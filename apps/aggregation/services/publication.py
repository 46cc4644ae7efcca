"""The end of a run: the new version, the members' state, the round's end and the log entry, in one transaction.

It can be called any number of times; only the run that the round's fence names can publish, and only once.
"""

import logging
import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps.aggregation.models import Run, Shard
from apps.aggregation.services import leases, shard_files
from apps.audit import services as audit
from apps.rounds import versions
from apps.rounds.models import Round, Update
from apps.rounds.services import open_rounds_due, registry
from apps.rounds.services.transitions import SYSTEM, move_round
from boltz_core.aggregation import decision
from boltz_core.aggregation.errors import AggregationError
from boltz_core.rounds.states import RoundState, UpdateState

logger = logging.getLogger(__name__)


def finish_run(run_id: int) -> None:
    """Publish a run whose shards are all there; otherwise nothing happens. A damaged base version fails its round."""
    # with whatever a message about them names: threads beside this one ask the database nothing
    run = Run.objects.select_related("round__model", "round__base__model").get(pk=run_id)
    results = list(run.results.order_by("number"))
    if run.state != "running" or len(results) != run.shards:
        return
    try:
        sha256, size, step_norm = write_version(run, results)
    except leases.RunEndedError as error:
        logger.warning("%s", error)
        return
    except shard_files.DamagedShardError as error:
        # without its row the range is combined again: at the next look, or by the next message
        logger.warning("%s", error)
        run.results.filter(number=error.number, run__state="running").delete()
        return
    except versions.DamagedVersionError as error:
        give_up(run, error.message)
        return
    if publish(run, sha256, size, step_norm):
        # what a crash leaves undone here, the tick does
        shard_files.forget(run.pk)
        open_rounds_due()
    else:
        Run.objects.filter(pk=run.pk, state="running").update(state="superseded", ended_at=Now())


def write_version(run: Run, results: list[Shard]) -> tuple[str, int, float]:
    """Write the new weights, range by range, and keep the lease; returns digest, size and the norm of the step.

    Raises:
        RunEndedError: somebody else has taken the run over meanwhile.
        DamagedShardError: a range is not what was combined.
        DamagedVersionError: the base is not what was published, so neither is the sum.
    """
    with ThreadPoolExecutor(max_workers=1) as beside:
        base = beside.submit(versions.verify_anew, run.round.base)
        ranges = new_weights(results, beside, leases.keeper_of(run))
        sha256, size = versions.write_weights(run.round.model.tensor_layout(), until_checked(ranges, base))
    leases.renew(run)
    return sha256, size, math.fsum(shard.step_square for shard in results) ** 0.5


def new_weights(results: list[Shard], beside: ThreadPoolExecutor, lease: leases.Keeper) -> Iterator[memoryview]:
    """The bytes of each range; the next one is read and checked while this one is written."""
    coming = beside.submit(shard_files.read, results[0])
    for following in range(1, len(results) + 1):
        lease.keep()
        raw = coming.result()
        if following < len(results):
            coming = beside.submit(shard_files.read, results[following])
        yield memoryview(raw)


def until_checked(ranges: Iterator[memoryview], base: Future[None]) -> Iterator[memoryview]:
    """All ranges; ends when the base version has been found whole too, since they were made from it."""
    yield from ranges
    base.result()


def publish(run: Run, sha256: str, size: int, step_norm: float) -> bool:
    """One transaction; False when the run has ended, another one has the fence or the round has been published.

    Raises:
        AggregationError: a member is not staged any more, though nothing has ended the run.
    """
    with transaction.atomic():
        round_ = Round.objects.select_for_update(of=("self",)).select_related("model", "base").get(pk=run.round_id)
        # a member that is removed ends the run under this lock, some time before the next one takes the fence
        running = Run.objects.filter(pk=run.pk, state="running").exists()
        if not running or round_.state != RoundState.AGGREGATING or round_.fence != run.fence:
            return False
        version = registry.publish_version(
            registry.NewVersion(
                model=round_.model,
                sha256=sha256,
                size=size,
                base=round_.base,
                round_id=round_.pk,
                round_number=round_.number,
                members=run.members,
                step_norm=step_norm,
            ),
            actor=SYSTEM,
        )
        decided = decision.Decision.from_record(run.decision)
        members = [
            Update(pk=member.update_id, state=UpdateState.AGGREGATED, share=share, version=version)
            for member, share in zip(decided.members, decided.shares, strict=True)
        ]
        staged = Update.objects.filter(pk__in=[member.pk for member in members], state=UpdateState.STAGED).count()
        if staged != len(members):
            raise AggregationError(f"{staged} of {len(members)} members of {run} are staged")
        Update.objects.bulk_update(members, ["state", "share", "version"], batch_size=500)
        move_round(round_, RoundState.AGGREGATING, RoundState.PUBLISHED, ended_at=timezone.now())
        Run.objects.filter(pk=run.pk).update(state="published", ended_at=Now())
        audit.append(
            "round.published",
            actor=SYSTEM,
            round=round_.label,
            detail={"fence": run.fence, "version": version.number, "weights_sha256": sha256, "step_norm": step_norm},
        )
    return True


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
