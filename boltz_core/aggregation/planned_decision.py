"""Decisions beyond the plain weighted mean: any rule, with what stands in front of it.

1. `admit` puts members in order and out what the gate refuses, by recorded norms alone.
2. Where the plan needs it, pass 1 measures the admitted ones, in this order (geometry.py).
3. `decide_planned` decides from these numbers and rounds what pass 2 carries out to integers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from boltz_core.aggregation.decision import Decision, Gated, Member, Planned, ordered_members
from boltz_core.aggregation.errors import AggregationError, TooFewUpdatesError
from boltz_core.aggregation.gate import gate_norms
from boltz_core.aggregation.geometry import Geometry
from boltz_core.aggregation.integer_weights import smallest_integers
from boltz_core.aggregation.mixed_row import MixedRow
from boltz_core.aggregation.plan import Plan, carry_out
from boltz_core.aggregation.rows import Rows, settled_mass
from boltz_core.arrays import Float64Vector


@dataclass(frozen=True)
class Admitted:
    """Who is in, in the order of update ids, and who is not."""

    members: tuple[Member, ...]
    gated: tuple[Gated, ...]

    @property
    def norms(self) -> tuple[float, ...]:
        """The members' norms."""
        return tuple(member.norm for member in self.members)


@dataclass(frozen=True)
class Terms:
    """What holds for every update of a round: the hard bound on norms, and the examples that count at most."""

    bound: float
    example_cap: int
    quorum: int = 1


def admit(members: Sequence[Member], *, terms: Terms) -> Admitted:
    """Order the members and judge their norms; the order in which they come does not matter.

    Raises:
        TooFewUpdatesError: fewer than the quorum are left.
        AggregationError: a norm that is no number, or what `ordered_members` refuses.
    """
    for member in members:
        if not (math.isfinite(member.norm) and member.norm >= 0):
            raise AggregationError(f"update {member.update_id} has norm {member.norm}")
    reasons = gate_norms([member.norm for member in members], bound=terms.bound).reasons
    judged = list(zip(members, reasons, strict=True))
    kept = [member for member, reason in judged if reason is None]
    if len(kept) < terms.quorum:
        raise TooFewUpdatesError(
            f"{len(kept)} of {len(members)} staged updates pass the gate; the quorum is {terms.quorum}"
        )
    gated = (Gated(member.update_id, member.norm, reason) for member, reason in judged if reason is not None)
    return Admitted(ordered_members(kept, terms.bound), tuple(sorted(gated, key=lambda out: out.update_id)))


def decide_planned(
    admitted: Admitted,
    *,
    plan: Plan,
    terms: Terms,
    geometry: Geometry | None = None,
    weights: Mapping[str, float] | None = None,
) -> Decision:
    """Decide how the admitted updates are combined.

    Args:
        admitted: from `admit` with the same terms.
        plan: from `make_plan`.
        terms: the round's.
        geometry: of the admitted members in their order; needed if `plan.needs_geometry`.
        weights: one for each update id, above 0; left out, the capped example counts. A rule that takes none ignores
            them.

    Raises:
        ConditionError: too few members for the plan.
        AggregationError: a geometry of other rows, or weights that cannot be.
    """
    if geometry is not None and geometry.members != len(admitted.members):
        raise AggregationError(f"a geometry of {geometry.members} rows for {len(admitted.members)} members")
    given = _weights(admitted, terms, weights)
    members = Rows(np.array(admitted.norms), given, geometry)
    rows, coefficients = carry_out(plan, members)
    if coefficients is None:
        integers, mass = smallest_integers(given), 1.0
    else:
        of_members = rows.member_coefficients(coefficients)
        integers = smallest_integers(_whole_again(of_members * math.fsum(given)))
        mass = settled_mass(math.fsum(of_members))
    return Decision(
        rule=plan.rule.name,
        bound=terms.bound,
        example_cap=terms.example_cap,
        members=admitted.members,
        weights=tuple(integers.tolist()),
        planned=Planned(
            plan=plan,
            byzantine=plan.byzantine_of(len(admitted.members)),
            gated=admitted.gated,
            mass=mass,
            rows=_mixed_rows(rows) if coefficients is None else None,
            geometry_sha256=geometry.digest if geometry else None,
        ),
    )


def _weights(admitted: Admitted, terms: Terms, weights: Mapping[str, float] | None) -> Float64Vector:
    if weights is None:
        return np.array([min(member.examples, terms.example_cap) for member in admitted.members], dtype=np.float64)
    missing = [member.update_id for member in admitted.members if member.update_id not in weights]
    if missing:
        raise AggregationError(f"update {missing[0]} has no weight")
    given = np.array([weights[member.update_id] for member in admitted.members], dtype=np.float64)
    if not (np.isfinite(given).all() and (given > 0).all()):
        raise AggregationError(f"weights are finite and above 0; the least is {given.min()}")
    return given


def _whole_again(numbers: Float64Vector) -> Float64Vector:
    """Numbers that were whole before they were divided and multiplied: a mean keeps whole weights exactly."""
    whole = np.rint(numbers)
    return whole if np.allclose(numbers, whole, rtol=1e-12, atol=0) else numbers


def _mixed_rows(rows: Rows) -> tuple[MixedRow, ...] | None:
    """What a statistic looks at, where that is not the members as they are."""
    if rows.coefficients is None:
        return None
    weights = smallest_integers(rows.weights).tolist()
    return tuple(MixedRow.of(line, weight) for line, weight in zip(rows.coefficients, weights, strict=True))
