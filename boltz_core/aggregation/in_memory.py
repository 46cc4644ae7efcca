"""Aggregation of an array, one update a row: the same gate, geometry, decision and passes as for staged updates.

Rows become float32 and go on a grid of 2^-32 of the largest norm that passes the gate. They are put in an order of
their own values, so the order in which they come cannot change a bit, not even at a tie. `aggregate_plain` is the same
decision without gate, float32 and grid: it says what the exact path should be close to.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from boltz_core.aggregation.combine import combine_range
from boltz_core.aggregation.errors import AggregationError, TooFewUpdatesError
from boltz_core.aggregation.geometry import Geometry, GeometryShape, measure_range
from boltz_core.aggregation.held_rows import HeldRows, ordered_rows
from boltz_core.aggregation.integer_weights import smallest_integers
from boltz_core.aggregation.plan import Plan, carry_out, make_plan
from boltz_core.aggregation.planned_decision import Admitted, Terms, decide_planned
from boltz_core.aggregation.rows import Rows
from boltz_core.aggregation.rules.parameters import PlanError, Value
from boltz_core.aggregation.rules.rule import Setting
from boltz_core.aggregation.segment_rows import OpenSegment
from boltz_core.aggregation.shards import ParameterRange, plan_shards
from boltz_core.arrays import Float64Block, Float64Vector
from boltz_core.ingest.segments import SEGMENT_PARAMETERS


@dataclass(frozen=True, eq=False)
class Aggregate:
    """`vector` in the units of the updates; `weights` of the updates in it, as they came, where the rule is linear.

    A gated update has weight 0. `record` is what `Decision.from_record` reads; None from `aggregate_plain`.
    """

    vector: Float64Vector
    weights: Float64Vector | None
    record: dict[str, Any] | None


def aggregate(
    updates: ArrayLike,
    *,
    rule: str,
    byzantine: int | None = 0,
    weights: Sequence[float] | Float64Vector | None = None,
    before: Sequence[str] = (),
    parameters: Mapping[str, Value] | None = None,
) -> Aggregate:
    """Combine updates, one a row of an array of shape (n, d).

    Args:
        updates: finite numbers.
        rule: its name.
        byzantine: f, how many arbitrary rows are to be tolerated; None stands for floor(0.2 n).
        weights: one a row, above 0; equal ones if left out.
        before: names of what stands in front of the rule, in order.
        parameters: by name, of the rule and of what stands in front.

    Raises:
        PlanError: a rule, step or parameter that does not exist, a value that cannot be, or weights for a rule without.
        TooFewUpdatesError: no updates.
        ConditionError: too few for the rule and f, once the gate has judged them.
        AggregationError: numbers that are not finite or beyond 1e30, an array of another shape, or bad weights.
    """
    plan = make_plan(rule, byzantine=byzantine, before=before, parameters=parameters)
    rows = _checked_rows(updates)
    given = _checked_weights(weights, len(rows), plan)
    held = HeldRows(rows, given)
    admitted, bound = held.admitted()
    open_segment = held.open_segments(admitted)
    (span,) = plan_shards(rows.shape[1], max_shards=1)
    geometry = _geometry(span, admitted, open_segment) if plan.needs_geometry else None
    decision = decide_planned(
        admitted, plan=plan, terms=Terms(bound, example_cap=1), geometry=geometry, weights=held.weights
    )
    vector = np.empty(rows.shape[1])
    for start, part in zip(
        range(0, len(vector), SEGMENT_PARAMETERS), combine_range(span, decision, open_segment), strict=True
    ):
        vector[start : start + len(part)] = part
    return Aggregate(vector, held.as_they_came(decision) if decision.is_linear else None, decision.record())


def aggregate_plain(
    updates: ArrayLike,
    *,
    rule: str,
    byzantine: int | None = 0,
    weights: Sequence[float] | Float64Vector | None = None,
    before: Sequence[str] = (),
    parameters: Mapping[str, Value] | None = None,
) -> Aggregate:
    """The same in float64 throughout, in memory, without the gate: for comparison, never for a round.

    Raises:
        PlanError, ConditionError, AggregationError: as `aggregate`.
    """
    plan = make_plan(rule, byzantine=byzantine, before=before, parameters=parameters)
    came = _checked_rows(updates)
    given = _checked_weights(weights, len(came), plan)
    order = ordered_rows(came, given)
    rows = came[order].astype(np.float64)
    used, coefficients = carry_out(plan, plain_rows(rows, given[order]))
    if coefficients is not None:
        of_members = used.member_coefficients(coefficients)
        return Aggregate(of_members @ rows, of_members[np.argsort(order)], None)
    mixed = rows if used.coefficients is None else used.coefficients @ rows
    integers = smallest_integers(used.weights)
    setting = Setting(plan.byzantine_of(len(rows)), plan.parameters)
    lines = np.array(mixed.T, order="C")
    return Aggregate(plan.rule.of_lines(lines, None if (integers == 1).all() else integers, setting), None, None)


def plain_rows(rows: Float64Block, weights: Float64Vector | None = None) -> Rows:
    """Float64 rows as a rule sees them, measured by whatever BLAS there is."""
    centred = np.vstack([rows, np.zeros(rows.shape[1])]) - rows.mean(axis=0)
    gram = centred @ centred.T
    squares = gram.diagonal()[:-1]
    apart = np.maximum(squares[:, None] + squares - 2 * gram[:-1, :-1], 0)
    np.fill_diagonal(apart, 0)
    geometry = Geometry(gram, apart, np.zeros((0, len(rows))))
    norms = np.sqrt((rows * rows).sum(axis=1))
    return Rows(norms, np.ones(len(rows)) if weights is None else weights, geometry)


def _checked_rows(updates: ArrayLike) -> Float64Block:
    """The rows as float32 or float64, as they came where they are one of these."""
    given = np.asarray(updates)
    if given.dtype.kind not in "fiu" or given.ndim != 2:  # noqa: PLR2004  (rows and columns)
        raise AggregationError(f"updates are numbers of shape (n, d); got {given.dtype} of shape {given.shape}")
    if not len(given):
        raise TooFewUpdatesError("there are no updates")
    if not given.shape[1]:
        raise AggregationError("updates have at least one number")
    rows = given if given.dtype in {np.dtype("<f4"), np.dtype("<f8")} else given.astype(np.float64)
    for index, row in enumerate(rows):
        if not (math.isfinite(float(row.max())) and math.isfinite(float(row.min()))):
            raise AggregationError(f"row {index} holds a number that is not finite")
    return rows


def _checked_weights(weights: Sequence[float] | Float64Vector | None, rows: int, plan: Plan) -> Float64Vector:
    if weights is None:
        return np.ones(rows)
    if not plan.takes_weights:
        raise PlanError(f"{plan.rule.name} takes no weights")
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (rows,) or not (np.isfinite(given).all() and (given > 0).all()):
        raise AggregationError(f"weights are {rows} finite numbers above 0; got {given.tolist()[:10]}")
    return given


def _geometry(span: ParameterRange, admitted: Admitted, open_segment: OpenSegment) -> Geometry:
    shape = GeometryShape.of(admitted.norms)
    return Geometry.of(measure_range(span, shape, open_segment), parameters=span.stop)
