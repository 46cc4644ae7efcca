"""Pass 2: the new weights of one parameter range, exactly as decided, and the server optimizer's new state."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apps.aggregation.models import Phase, Run, Shard
from apps.aggregation.services import deciding, endings, leases, membership, ranges, shard_files
from apps.rounds import stores, versions
from apps.rounds.selectors import staged_matrix
from boltz_core.aggregation import combine, server_step
from boltz_core.aggregation.decision import Decision
from boltz_core.aggregation.policy import optimizer_of
from boltz_core.aggregation.segment_rows import OpenSegment
from boltz_core.aggregation.server_optimizer import ServerOptimizer, state_layout
from boltz_core.aggregation.shards import ParameterRange
from boltz_core.ingest.segments import SEGMENT_PARAMETERS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewSegment:
    """One segment of what a run makes. The arrays are overwritten by the next one."""

    weights: NDArray[np.float32]
    state: Mapping[str, NDArray[np.float32]]
    step_square: float


def combine_shard(run_id: int, number: int) -> int | None:
    """Combine one range and write it once. Late, doubled or superseded calls do nothing.

    The round to begin anew, when a member had to be removed from it.
    """
    run = Run.objects.select_related("round__model", "round__base").get(pk=run_id)
    if not ranges.is_missing(run, Phase.COMBINE, number) or run.decision is None:
        return None
    try:
        shard = write_shard(run, number)
    except leases.RunEndedError as error:
        logger.warning("%s", error)
    except versions.DamagedVersionError as error:
        endings.give_up(run, error.message)
    except stores.DamagedMemberError as error:
        return run.round_id if membership.remove_damaged(run, error) else None
    else:
        ranges.write_once(shard)
    return None


def write_shard(run: Run, number: int) -> Shard:
    """Write the new weights of one range, and the optimizer's new state there; the row that says so, not saved.

    Raises:
        RunEndedError: the run has ended meanwhile; the tick removes the files.
        DamagedVersionError: the base has changed on disk.
        DamagedMemberError: the segments of a member have.
    """
    decided, square = deciding.decision_of(run), 0.0
    names = optimizer_of(run.round.round_policy()).kind.state_names
    with (
        staged_matrix(run.round, [member.update_id for member in decided.members]) as matrix,
        contextlib.ExitStack() as stack,
    ):
        files = {name: _HashedFile(run, number, name, stack) for name in ("", *names)}
        open_segment = leases.renewing(run, matrix.open_segment)
        for segment in new_segments(run, decided, ranges.range_of(run, number), open_segment):
            files[""].write(segment.weights)
            for name, vector in segment.state.items():
                files[name].write(vector)
            square += segment.step_square
        leases.renew(run)
    digests = {name: file.digest.hexdigest() for name, file in files.items()}
    return Shard(
        run=run,
        phase=Phase.COMBINE,
        number=number,
        sha256=digests.pop(""),
        state_sha256=digests,
        step_square=square,
    )


class _HashedFile:
    """One file of a shard, hashed while it is written."""

    def __init__(self, run: Run, number: int, vector: str, stack: contextlib.ExitStack) -> None:
        self.digest = hashlib.sha256()
        self._write = stack.enter_context(shard_files.writing(run, Phase.COMBINE, number, vector))

    def write(self, values: NDArray[np.float32]) -> None:
        block = memoryview(values).cast("B")
        self.digest.update(block)
        self._write(block)


def new_segments(run: Run, decided: Decision, span: ParameterRange, open_segment: OpenSegment) -> Iterator[NewSegment]:
    """What a decision makes of one range of the base version: weights and state, segment by segment.

    Raises:
        DamagedVersionError: the base has changed on disk.
        DamagedMemberError: the segments of a member have.
    """
    optimizer = optimizer_of(run.round.round_policy())
    with contextlib.closing(Before(run, optimizer)) as before:
        start = span.start
        for step in combine.combine_range(span, decided, open_segment):
            weights, state = before.read(start, len(step))
            optimizer.change_step(step, state)
            square = float(np.dot(step, step))
            server_step.apply_step(weights, step)
            yield NewSegment(weights, state, square)
            start += len(step)


class Before:
    """The base version: its weights, and the state of the optimizer, which begins anew where it was another one."""

    def __init__(self, run: Run, optimizer: ServerOptimizer) -> None:
        model, base = run.round.model, run.round.base
        self._initial = optimizer.initial_state
        self._arrays = {name: np.empty(SEGMENT_PARAMETERS, "<f4") for name in ("", *self._initial)}
        stored, layout = versions.state_in(base), state_layout(optimizer, model.parameters)
        self._starts = {name: start for name, (start, _) in layout.offsets.items()} if layout else {}
        self._state = None
        with contextlib.ExitStack() as stack:
            self._weights = stack.enter_context(contextlib.closing(versions.WeightsReader(base, model.tensor_layout())))
            if base.optimizer == optimizer.kind.name and stored is not None and layout is not None:
                self._state = stack.enter_context(contextlib.closing(versions.TensorReader(stored, layout)))
            self.close = stack.pop_all().close

    def read(self, start: int, count: int) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
        """Weights and state of `count` parameters from `start` on."""
        parts = {name: array[:count] for name, array in self._arrays.items()}
        weights = parts.pop("")
        self._weights.read_into(start, weights)
        for name, part in parts.items():
            if self._state is None:
                part.fill(self._initial[name])
            else:
                self._state.read_into(self._starts[name] + start, part)
        return weights, parts
