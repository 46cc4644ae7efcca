"""Replaying a published round: everything again from the record and the staged segments, to the same bits.

What is compared: the record with the digest in the log; the geometry, measured again, with the digest in the record;
the decision, made again from that geometry; and the weights. Nothing is written.
"""

import dataclasses
import hashlib
from collections.abc import Iterator

from apps.aggregation.models import Run
from apps.aggregation.services import combining, deciding
from apps.audit import selectors as log
from apps.rounds import stores, versions
from apps.rounds.models import ModelVersion, Round
from apps.rounds.selectors import StagedMatrix, staged_matrix
from boltz_core.aggregation.decision import Decision
from boltz_core.aggregation.errors import AggregationError
from boltz_core.aggregation.geometry import Geometry, GeometryShape, measure_range
from boltz_core.aggregation.planned_decision import Admitted, decide_planned
from boltz_core.aggregation.shards import ParameterRange, plan_shards
from boltz_protocol import tensors
from boltz_protocol.errors import NotNowError


@dataclasses.dataclass(frozen=True)
class Replay:
    """What came out. `differences` are sentences; without any the round is what it was."""

    published_sha256: str
    replayed_sha256: str | None
    differences: tuple[str, ...]


def replay_round(round_: Round) -> Replay:
    """Replay a round.

    Raises:
        NotNowError: `not_replayable`: it published nothing, or its segments have been shredded.
        ServerFaultError: the round's staging key cannot be used.
    """
    run = Run.objects.filter(round=round_, state="published").select_related("round__model", "round__base").first()
    if run is None:
        raise NotNowError(f"{round_} is {round_.state}; only a published round can be replayed", code="not_replayable")
    if round_.shredded_at is not None:
        raise NotNowError(
            f"the segments of {round_} were shredded at {round_.shredded_at:%Y-%m-%d %H:%M}: its replay window is over",
            code="not_replayable",
        )
    version = round_.version
    differences: list[str] = []
    replayed = None
    try:
        decided = deciding.decision_of(run)
        differences += differences_to_log(round_, decided)
        with staged_matrix(round_, [member.update_id for member in decided.members]) as matrix:
            differences += differences_of_decision(run, decided, matrix)
            replayed = made_again(run, decided, matrix)
    except (AggregationError, stores.DamagedMemberError, versions.DamagedVersionError) as error:
        differences.append(error.message)
    else:
        differences += differences_of_weights(version, replayed)
    return Replay(version.weights_sha256, replayed, tuple(differences))


def differences_to_log(round_: Round, decided: Decision) -> Iterator[str]:
    """Whether the record is the one that the log commits to."""
    entries = log.entries_of_round(round_.label).filter(type__in=("run.begun", "run.decided"))
    logged = {(log.read_detail(entry) or {}).get("decision_sha256") for entry in entries}
    if decided.digest not in logged:
        yield f"the log has another decision than the record, whose digest is {decided.digest}"


def differences_of_decision(run: Run, decided: Decision, matrix: StagedMatrix) -> Iterator[str]:
    """Whether the same is decided again, from a geometry that is measured again."""
    if decided.planned is None:
        # a plain record has been decided again when it was read
        return
    geometry = None
    if decided.planned.geometry_sha256 is not None:
        geometry = geometry_of(run, decided, matrix)
        if geometry.digest != decided.planned.geometry_sha256:
            yield f"the members' geometry is {geometry.digest}, the record has {decided.planned.geometry_sha256}"
    again = decide_planned(
        Admitted(decided.members, decided.planned.gated),
        plan=decided.planned.plan,
        terms=deciding.terms_of(run.round.round_policy()),
        geometry=geometry,
    )
    yield from differing_fields(again, decided)


def differing_fields(again: Decision, decided: Decision) -> Iterator[str]:
    """What is not as it was decided."""
    now, then = again.record(), decided.record()
    for name in sorted(now.keys() | then.keys()):
        if now.get(name) != then.get(name):
            yield f"decided again, {name} is another one than in the record"


def geometry_of(run: Run, decided: Decision, matrix: StagedMatrix) -> Geometry:
    """The geometry of the members, in one go: however it is split, it is the same."""
    shape = GeometryShape.of([member.norm for member in decided.members])
    span = whole_of(run)
    return Geometry.of(measure_range(span, shape, matrix.open_segment), parameters=span.stop)


def whole_of(run: Run) -> ParameterRange:
    """All parameters as one range."""
    (span,) = plan_shards(run.round.model.parameters, max_shards=1)
    return span


def made_again(run: Run, decided: Decision, matrix: StagedMatrix) -> str:
    """The digest of the file of weights that the decision gives."""
    digest = hashlib.sha256(tensors.safetensors_header(run.round.model.tensor_layout()))
    for segment in combining.new_segments(run, decided, whole_of(run), matrix.open_segment):
        digest.update(segment.weights.data)
    return digest.hexdigest()


def differences_of_weights(version: ModelVersion, replayed: str) -> Iterator[str]:
    """Whether the weights are those that were published."""
    if replayed != version.weights_sha256:
        yield f"the weights have the digest {replayed}, {version} was published with {version.weights_sha256}"
