"""The end of a run: the new version, the members' state, the round's end and the log entry, in one transaction.

It can be called any number of times; only the run that the round's fence names can publish, and only once.
"""

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from numpy.typing import NDArray

from apps.aggregation.models import Run, Shard
from apps.aggregation.services import leases
from apps.audit import services as audit
from apps.rounds import versions
from apps.rounds.models import Round, Update
from apps.rounds.services import open_rounds_due, registry
from apps.rounds.services.transitions import SYSTEM, move_round
from boltz_core.aggregation import decision, server_step
from boltz_core.aggregation.errors import AggregationError
from boltz_core.rounds.states import RoundState, UpdateState
from boltz_protocol.errors import ServerFaultError

logger = logging.getLogger(__name__)


class DamagedShardError(ServerFaultError):
    """The file of a combined range is not the one that was written."""

    default_code = "shard_damaged"

    def __init__(self, shard: Shard) -> None:
        super().__init__(f"{shard} is damaged on our disk; it is combined again")
        self.number = shard.number


def finish_run(run_id: int) -> None:
    """Publish a run whose shards are all there; otherwise nothing happens. A damaged base version fails its round."""
    run = Run.objects.select_related("round__model", "round__base").get(pk=run_id)
    results = list(run.results.order_by("number"))
    if run.state != "running" or len(results) != run.shards:
        return
    try:
        sha256, size, step_norm = write_version(run, results)
    except leases.RunEndedError as error:
        logger.warning("%s", error)
        return
    except DamagedShardError as error:
        # without its row the range is combined again: at the next look, or by the next message
        logger.warning("%s", error)
        run.results.filter(number=error.number, run__state="running").delete()
        return
    except versions.DamagedVersionError as error:
        give_up(run, error.message)
        return
    if publish(run, sha256, size, step_norm):
        # what a crash leaves undone here, the tick does
        forget_shards(run.pk)
        open_rounds_due()
    else:
        Run.objects.filter(pk=run.pk, state="running").update(state="superseded", ended_at=Now())


def write_version(run: Run, results: list[Shard]) -> tuple[str, int, float]:
    """Write the new weights, range by range, and keep the lease; returns digest, size and the norm of the step.

    Raises:
        RunEndedError: somebody else has taken the run over meanwhile.
    """
    layout = run.round.model.tensor_layout()
    squares = [0.0]
    with contextlib.closing(versions.VerifyingReader(run.round.base, layout)) as reader:
        blocks = new_weights(results, reader, squares, leases.keeper_of(run))
        sha256, size = versions.write_weights(layout, blocks)
    leases.renew(run)
    return sha256, size, squares[0] ** 0.5


def new_weights(
    results: list[Shard], reader: versions.VerifyingReader, squares: list[float], lease: leases.Keeper
) -> Iterator[memoryview]:
    """Base plus step for each range; adds the squared norm of the step to `squares`.

    Raises:
        DamagedVersionError: after the last range: the base was not what was published, so neither is the sum.
    """
    for shard in results:
        lease.keep()
        step = read_shard(shard)
        squares[0] += float(np.dot(step, step))
        yield memoryview(server_step.apply_step(reader.read(shard.stop - shard.start), step)).cast("B")
    reader.finish()


def read_shard(shard: Shard) -> NDArray[np.float64]:
    """The combined step of one range, as it was written.

    Raises:
        DamagedShardError: gone, or other bytes.
    """
    try:
        raw = shard_path(shard.run_id, shard.number).read_bytes()
    except FileNotFoundError as error:
        raise DamagedShardError(shard) from error
    if hashlib.sha256(raw).hexdigest() != shard.sha256:
        raise DamagedShardError(shard)
    return np.frombuffer(raw, dtype="<f8")


def forget_shards(run_id: int) -> None:
    """Remove the combined ranges of a run that has ended: the version holds what they were for."""
    shutil.rmtree(shard_path(run_id, 0).parent, ignore_errors=True)


def sweep_shards() -> None:
    """Remove the combined ranges of every run that has ended."""
    for directory in (Path(settings.BOLTZ_DATA_DIR) / "runs").glob("*"):
        if not Run.objects.filter(pk=int(directory.name), state="running").exists():
            forget_shards(int(directory.name))


def shard_path(run_id: int, number: int) -> Path:
    """Where the combined step of one range lies."""
    return Path(settings.BOLTZ_DATA_DIR) / "runs" / str(run_id) / f"{number}.f64"


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
