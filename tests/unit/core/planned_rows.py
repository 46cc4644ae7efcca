"""Any plan carried out on rows that are the same everywhere, as the tasks of a run do it: shard by shard.

Run as a program it prints the name of OpenBLAS's kernels and one digest of each plan's geometry, record and result.
"""

import hashlib
import json

import numpy as np

from boltz_core.aggregation.combine import combine_range
from boltz_core.aggregation.decision import Member
from boltz_core.aggregation.geometry import Geometry, GeometryShape, PartialGeometry, measure_range
from boltz_core.aggregation.held_rows import settled_norm
from boltz_core.aggregation.plan import make_plan
from boltz_core.aggregation.planned_decision import Terms, admit, decide_planned
from boltz_core.aggregation.rules.registry import RULES
from boltz_core.aggregation.shards import plan_shards
from boltz_core.ingest.segments import SEGMENT_PARAMETERS
from tests.unit.core.made_rows import blas_kernels, digest, made_numbers, whole

ROWS, PARAMETERS = 15, 6 * SEGMENT_PARAMETERS + 8200
FEW_PARAMETERS = 8192 + 500
SEED = "5e" * 32
BEFORE = ((), ("nnm",), ("norm_clip", "nnm"))


def made_updates(rows=ROWS, parameters=PARAMETERS):
    """Rows around a common one, some longer than others."""
    numbers = made_numbers("updates", (rows + 1) * parameters).reshape(rows + 1, parameters)
    sizes = 1 + np.arange(rows, dtype=np.float32)[:, None] / np.float32(8)
    return (numbers[0] + numbers[1:]) * sizes * np.float32(1e-3)


def opener(rows, members):
    """`open_segment` for members whose ids say which row is theirs."""

    def open_segment(member, segment, out):
        start = segment * SEGMENT_PARAMETERS
        out[:] = rows[int(members[member].update_id[1:])][start : start + len(out)]

    return open_segment


def measured(rows, members, *, max_shards=1):
    """The parts of a geometry, one for each shard."""
    shape = GeometryShape.of([member.norm for member in members])
    spans = plan_shards(rows.shape[1], max_shards=max_shards, min_parameters=1)
    return [measure_range(span, shape, opener(rows, members)) for span in spans]


def merged(parts):
    """One geometry of all parts, which have been bytes in between."""
    total, *others = [PartialGeometry.from_bytes(part.to_bytes()) for part in parts]
    for part in others:
        total = total.merge(part)
    return total


def carried_out(rows, *, max_shards=1, weights=None, examples=lambda _row: 1, **wanted):
    """The decision and the result of a plan on these rows."""
    plan = make_plan(wanted.pop("rule"), **wanted)
    members = [Member(f"u{row:04}", settled_norm(values), examples(row)) for row, values in enumerate(rows)]
    terms = Terms(bound=max(member.norm for member in members), example_cap=5)
    admitted = admit(members, terms=terms)
    geometry = None
    if plan.needs_geometry:
        parts = measured(rows, admitted.members, max_shards=max_shards)
        geometry = Geometry.of(merged(parts), parameters=rows.shape[1])
    decision = decide_planned(admitted, plan=plan, terms=terms, geometry=geometry, weights=weights)
    spans = plan_shards(rows.shape[1], max_shards=max_shards, min_parameters=1)
    open_segment = opener(rows, admitted.members)
    return decision, np.concatenate([whole(combine_range(span, decision, open_segment)) for span in spans])


def plan_digest(rows, rule, before, *, max_shards=1):
    """One digest of the record, which has that of the geometry in it, and of the result."""
    examples = (lambda row: 1 + row % 4) if rule in {"median", "trimmed_mean"} else (lambda _row: 1)
    decision, result = carried_out(
        rows, rule=rule, before=before, byzantine=2, max_shards=max_shards, examples=examples
    )
    record = json.dumps(decision.record(), sort_keys=True)
    return hashlib.sha256((record + digest(result)).encode()).hexdigest()


def plans():
    """Each rule, alone and behind others."""
    return [(rule, before) for rule in RULES for before in BEFORE]


if __name__ == "__main__":
    rows = made_updates(parameters=FEW_PARAMETERS)
    print(blas_kernels(), *(plan_digest(rows, rule, before) for rule, before in plans()))  # noqa: T201  (the test reads it)
