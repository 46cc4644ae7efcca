"""What a run does with staged updates, in one range: measure where the rule needs it, decide, combine.

And what of it is measured: seconds, and memory. Each of these functions is called in a process of its own.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from benchmarks.engine_updates import MadeUpdates, update_id
from benchmarks.engine_works import DOOR, FILES, ONCE, OURS, Work
from benchmarks.timing import best_seconds
from boltz_core.aggregation.combine import combine_range
from boltz_core.aggregation.decision import Member
from boltz_core.aggregation.geometry import Geometry, GeometryShape, measure_range
from boltz_core.aggregation.in_memory import aggregate
from boltz_core.aggregation.planned_decision import Terms, admit, decide_planned
from boltz_core.aggregation.segment_rows import OpenSegment
from boltz_core.aggregation.shards import plan_shards
from boltz_core.arrays import Float32Block, Float32Vector, Float64Vector
from boltz_core.ingest.segments import SEGMENT_PARAMETERS

MEBIBYTE = 2**20


def combine_staged(
    work: Work, made: MadeUpdates, open_segment: OpenSegment, take: Callable[[int, Float64Vector], object]
) -> None:
    """Combine, and hand on each segment with the place at which it starts; it is overwritten by the next one."""
    terms = Terms(max(made.norms), example_cap=max(work.examples))
    members = zip(made.norms, work.examples, strict=True)
    admitted = admit([Member(update_id(n), norm, examples) for n, (norm, examples) in enumerate(members)], terms=terms)
    (span,) = plan_shards(made.parameters, max_shards=1)
    plan, geometry = work.plan, None
    if plan.needs_geometry:
        part = measure_range(span, GeometryShape.of(admitted.norms), open_segment)
        geometry = Geometry.of(part, parameters=made.parameters)
    decision = decide_planned(admitted, plan=plan, terms=terms, geometry=geometry)
    for index, segment in enumerate(combine_range(span, decision, open_segment)):
        take(index * SEGMENT_PARAMETERS, segment)


def from_memory(rows: Float32Block) -> OpenSegment:
    """Segments of rows that lie in memory."""

    def open_segment(member: int, index: int, out: Float32Vector) -> None:
        start = index * SEGMENT_PARAMETERS
        np.copyto(out, rows[member, start : start + len(out)])

    return open_segment


def seconds_of(work: Work, made: MadeUpdates, vector_path: Path, repeat: int) -> dict[str, float]:
    """The seconds of all ways of ours, and of reading the rows once; our result is left at the path.

    Raises:
        SystemExit: rows in memory and in sealed files give different bits.
    """
    rows, result = made.rows(), np.empty(made.parameters)

    def combined(open_segment: OpenSegment) -> Float64Vector:
        combine_staged(work, made, open_segment, lambda start, part: np.copyto(result[start : start + len(part)], part))
        return result

    with made.sealed() as from_files:
        memory = combined(from_memory(rows)).copy()
        check_same_bits(memory, combined(from_files))
        np.save(vector_path, memory)
        ways = {
            ONCE: rows.sum,
            OURS: lambda: combined(from_memory(rows)),
            FILES: lambda: combined(from_files),
            DOOR: lambda: through_the_door(work, rows),
        }
        return best_seconds(ways, repeat=repeat)


def through_the_door(work: Work, rows: Float32Block) -> Float64Vector:
    """The function for arrays, which also checks the rows, puts them in an order of their own and measures norms."""
    weights = work.examples if work.plan.takes_weights else None
    return aggregate(rows, rule=work.rule, byzantine=work.byzantine, weights=weights, before=work.before).vector


def check_same_bits(memory: Float64Vector, files: Float64Vector) -> None:
    """Refuse to time what does not do the same.

    Raises:
        SystemExit: the vectors differ in a bit.
    """
    if memory.tobytes() != files.tobytes():
        raise SystemExit("rows in memory and in sealed files give different bits")


def seconds_in_memory(works: Iterable[Work], made: MadeUpdates, repeat: int) -> dict[str, float]:
    """The seconds of several rules on the same rows in memory, and of reading these once."""
    rows, result = made.rows(), np.empty(made.parameters)

    def combined(work: Work) -> None:
        combine_staged(
            work, made, from_memory(rows), lambda start, part: np.copyto(result[start : start + len(part)], part)
        )

    ways = {work.name: lambda work=work: combined(work) for work in works}
    return best_seconds({ONCE: rows.sum, **ways}, repeat=repeat)


def mebibytes_above_idle(work: Work, made: MadeUpdates) -> float:
    """How far memory rises while sealed files are combined, by the kernel's own high-water mark."""
    with made.sealed() as from_files:
        # the mark begins anew
        Path("/proc/self/clear_refs").write_text("5")
        idle = resident_bytes("VmRSS")
        combine_staged(work, made, from_files, lambda _start, _part: None)
        return (resident_bytes("VmHWM") - idle) / MEBIBYTE


def resident_bytes(field: str) -> int:
    """A number of this process's status: VmRSS is now, VmHWM the most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {field}")
