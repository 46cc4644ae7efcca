"""The end of a run: the new version, the members' state, the round's end and the log entry, in one transaction.

It can be called any number of times; only the run that the round's fence names can publish, and only once.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps.aggregation.models import Phase, Run, Shard
from apps.aggregation.services import deciding, endings, leases, ranges, shard_files
from apps.audit import services as audit
from apps.rounds import versions
from apps.rounds.models import Round, Update
from apps.rounds.services import open_rounds_due, registry
from apps.rounds.services.transitions import SYSTEM, move_round, move_updates
from boltz_core.aggregation.decision import Gated
from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.policy import optimizer_of
from boltz_core.aggregation.server_optimizer import state_layout
from boltz_core.rounds.states import RoundState, UpdateState

logger = logging.getLogger(__name__)


def finish_run(run_id: int) -> None:
    """Publish a run whose shards are all there; otherwise nothing happens. A damaged base version fails its round."""
    # with whatever a message about them names: threads beside this one ask the database nothing
    run = Run.objects.select_related("round__model", "round__base__model").get(pk=run_id)
    results = ranges.done_in(run, Phase.COMBINE)
    if run.state != "running" or len(results) != run.shards:
        return
    try:
        written = write_version(run, results)
    except leases.RunEndedError as error:
        logger.warning("%s", error)
        return
    except shard_files.DamagedShardError as error:
        logger.warning("%s", error)
        shard_files.make_again(error)
        return
    except versions.DamagedVersionError as error:
        endings.give_up(run, error.message)
        return
    if publish(run, written):
        # what a crash leaves undone here, the tick does
        shard_files.forget(run.pk)
        open_rounds_due()
    else:
        Run.objects.filter(pk=run.pk, state="running").update(state="superseded", ended_at=Now())


@dataclass(frozen=True)
class Written:
    """The files of a version to be, and the norm of its step."""

    sha256: str
    size: int
    step_norm: float
    state_sha256: str = ""
    state_bytes: int = 0


def write_version(run: Run, results: list[Shard]) -> Written:
    """Write the new weights and the optimizer's new state, range by range, and keep the lease.

    Raises:
        RunEndedError: somebody else has taken the run over meanwhile.
        DamagedShardError: a range is not what was combined.
        DamagedVersionError: the base is not what was published, so neither is the sum.
    """
    model = run.round.model
    lease = leases.keeper_of(run)
    layout = state_layout(optimizer_of(run.round.round_policy()), model.parameters)
    with ThreadPoolExecutor(max_workers=1) as beside:
        base = beside.submit(versions.verify_anew, run.round.base)
        weights = read_ahead([partial(shard_files.read, shard) for shard in results], beside, lease)
        sha256, size = versions.write_tensors(model.tensor_layout(), until_checked(weights, base))
        state = ("", 0)
        if layout is not None:
            # one vector behind the other
            reads = [partial(shard_files.read_state, shard, spec.name) for spec in layout.specs for shard in results]
            state = versions.write_tensors(layout, read_ahead(reads, beside, lease))
    leases.renew(run)
    return Written(sha256, size, math.fsum(shard.step_square for shard in results) ** 0.5, *state)


def read_ahead(
    reads: Sequence[Callable[[], bytes]], beside: ThreadPoolExecutor, lease: leases.Keeper
) -> Iterator[memoryview]:
    """What each read gives; the next one is read and checked while this one is written."""
    coming = beside.submit(reads[0])
    for following in [*reads[1:], None]:
        lease.keep()
        raw = coming.result()
        if following is not None:
            coming = beside.submit(following)
        yield memoryview(raw)


def until_checked(ranges: Iterator[memoryview], base: Future[None]) -> Iterator[memoryview]:
    """All ranges; ends when the base version has been found whole too, since they were made from it."""
    yield from ranges
    base.result()


def publish(run: Run, written: Written) -> bool:
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
                sha256=written.sha256,
                size=written.size,
                base=round_.base,
                round_id=round_.pk,
                round_number=round_.number,
                members=run.members,
                step_norm=written.step_norm,
                optimizer=round_.round_policy().optimizer,
                state_sha256=written.state_sha256,
                state_bytes=written.state_bytes,
            ),
            actor=SYSTEM,
        )
        decided = deciding.decision_of(run)
        members = [
            Update(pk=member.update_id, state=UpdateState.AGGREGATED, share=share, version=version)
            for member, share in zip(decided.members, decided.shares, strict=True)
        ]
        staged = Update.objects.filter(pk__in=[member.pk for member in members], state=UpdateState.STAGED).count()
        if staged != len(members):
            raise AggregationError(f"{staged} of {len(members)} members of {run} are staged")
        Update.objects.bulk_update(members, ["state", "share", "version"], batch_size=500)
        expire_gated(round_, decided.planned.gated if decided.planned else ())
        move_round(round_, RoundState.AGGREGATING, RoundState.PUBLISHED, ended_at=timezone.now())
        Run.objects.filter(pk=run.pk).update(state="published", ended_at=Now())
        audit.append(
            "round.published",
            actor=SYSTEM,
            round=round_.label,
            detail={
                "fence": run.fence,
                "version": version.number,
                "weights_sha256": written.sha256,
                "step_norm": written.step_norm,
            },
        )
    return True


def expire_gated(round_: Round, gated: Sequence[Gated]) -> None:
    """STAGED -> EXPIRED for those whose norm alone has kept them out, each with its reason."""
    for out in gated:
        move_updates(
            Update.objects.filter(round=round_, pk=out.update_id),
            [UpdateState.STAGED],
            UpdateState.EXPIRED,
            code="norm_gated",
            reason=out.reason[:200],
            decided_at=Now(),
        )
