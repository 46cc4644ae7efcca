"""Pass 1: how the members of a round lie to each other, range by range; then the decision.

The geometry is integers, so however it is split it is the same, and so is what is decided from it (ADR 5).
"""

import functools
import logging

from django.db import transaction

from apps.aggregation.models import Phase, Run, Shard
from apps.aggregation.services import deciding, leases, membership, ranges, shard_files
from apps.audit import services as audit
from apps.keys import services as keys
from apps.rounds import stores
from apps.rounds.models import Round
from apps.rounds.selectors import staged_matrix
from apps.rounds.services.transitions import SYSTEM
from boltz_core.aggregation.decision import Decision
from boltz_core.aggregation.errors import ConditionError, TooFewUpdatesError
from boltz_core.aggregation.geometry import Geometry, GeometryShape, PartialGeometry, measure_range
from boltz_core.aggregation.shards import ParameterRange
from boltz_core.rounds.states import RoundState
from boltz_protocol.errors import ServerFaultError

logger = logging.getLogger(__name__)


def measure_shard(run_id: int, number: int) -> int | None:
    """Measure one range and write it once. Late, doubled or superseded calls do nothing.

    The round to begin anew, when a member had to be removed from it.
    """
    run = Run.objects.select_related("round__model").get(pk=run_id)
    if not ranges.is_missing(run, Phase.MEASURE, number) or run.decision is not None:
        return None
    try:
        sha256 = write_part(run, number, ranges.range_of(run, number))
    except leases.RunEndedError as error:
        logger.warning("%s", error)
    except stores.DamagedMemberError as error:
        return run.round_id if membership.remove_damaged(run, error) else None
    else:
        ranges.write_once(Shard(run=run, phase=Phase.MEASURE, number=number, sha256=sha256))
    return None


def write_part(run: Run, number: int, span: ParameterRange) -> str:
    """Write the sealed geometry of one range; returns the digest of what is sealed.

    Raises:
        RunEndedError: the run has ended meanwhile; the tick removes the file.
        DamagedMemberError: the segments of a member are damaged.
    """
    members = case_of(run).members
    with staged_matrix(run.round, [member.update_id for member in members]) as matrix:
        shape = GeometryShape.of([member.norm for member in members])
        part = measure_range(span, shape, leases.renewing(run, matrix.open_segment))
    # two that measure the same at once seal it to other bytes; what they measured is the same
    sealed = keys.key_store().seal(run.round.staging_kid, part.to_bytes(), context_of(run, number))
    with shard_files.writing(run, Phase.MEASURE, number) as write:
        write(sealed)
        leases.renew(run)
    return part.digest


def case_of(run: Run) -> deciding.Case:
    """What a running run is decided from.

    Raises:
        RunEndedError: a member has been removed, which has ended the run too.
    """
    try:
        case = deciding.case_of(run.round)
    except (ConditionError, TooFewUpdatesError) as error:
        raise leases.RunEndedError(f"{run} has ended: {error.message}") from error
    if len(case.members) != run.members:
        raise leases.RunEndedError(f"{run} has ended: {len(case.members)} of its {run.members} members are left")
    return case


def context_of(run: Run, number: int) -> bytes:
    """What a part of a geometry is sealed to."""
    return f"geometry of run {run.pk}, part {number}".encode()


def decide_run(run_id: int) -> Run | None:
    """Decide a run whose geometry is all there, once; the run, when it is to be combined now."""
    run = Run.objects.select_related("round__model", "round__base").get(pk=run_id)
    parts = ranges.done_in(run, Phase.MEASURE)
    if run.state != "running" or run.decision is not None or len(parts) != run.shards:
        return None
    try:
        decided = deciding.decide(case_of(run), geometry_of(run, parts))
    except leases.RunEndedError as error:
        logger.warning("%s", error)
        return None
    except shard_files.DamagedShardError as error:
        logger.warning("%s", error)
        shard_files.make_again(error)
        return None
    return run if write_decision(run, decided) else None


def geometry_of(run: Run, parts: list[Shard]) -> Geometry:
    """The whole geometry of a run.

    Raises:
        DamagedShardError: a part is not what was measured.
    """
    partial = [PartialGeometry.from_bytes(read_part(run, part)) for part in parts]
    return Geometry.of(functools.reduce(PartialGeometry.merge, partial), parameters=run.round.model.parameters)


def read_part(run: Run, part: Shard) -> bytes:
    """One part of the geometry.

    Raises:
        DamagedShardError: it is not what was measured.
        ServerFaultError: the round's staging key cannot be used (`key_missing`, `key_damaged`).
    """

    def opened(sealed: bytes) -> bytes:
        try:
            return keys.key_store().open_sealed(run.round.staging_kid, sealed, context_of(run, part.number))
        except ServerFaultError as error:
            if error.code != keys.SEALED_BYTES_DAMAGED:
                raise
            raise shard_files.SealedBytesDamagedError from error

    return shard_files.read(part, opened)


def write_decision(run: Run, decided: Decision) -> bool:
    """Write the decision, once, under the fence; False when somebody else has, or the run has ended."""
    with transaction.atomic():
        round_ = Round.objects.select_for_update(of=("self",)).select_related("model").get(pk=run.round_id)
        if round_.state != RoundState.AGGREGATING or round_.fence != run.fence:
            return False
        undecided = Run.objects.filter(pk=run.pk, state="running", decision__isnull=True)
        if not undecided.update(decision=decided.record(), lease_expires_at=leases.lease_end()):
            return False
        detail = {"fence": run.fence, "members": run.members} | deciding.digests_of(decided)
        audit.append("run.decided", actor=SYSTEM, round=round_.label, detail=detail)
    run.decision = decided.record()
    return True
