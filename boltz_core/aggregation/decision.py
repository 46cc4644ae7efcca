"""The decision of a run: who is in it, in which order, with which weight, under which bound.

Made once from few numbers, never from the updates, then recorded and replayed. Members are put in the order of their
update ids. The record is what a replay reads, and its digest is in the log; numbers that are not integers are strings
in it. What a record says of a client that is erased can be taken out of it: the weight stays, since the published
version holds it, and the digest no longer matches.

`decide` makes the plain weighted mean over capped example counts (record v1); `planned_decision.py` everything else
(record v2).
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from boltz_core.aggregation.errors import AggregationError, TooFewUpdatesError
from boltz_core.aggregation.grid import Grid
from boltz_core.aggregation.integer_weights import MAX_WEIGHT, integer_weights
from boltz_core.aggregation.mixed_row import MixedRow
from boltz_core.aggregation.plan import Plan, make_plan
from boltz_core.aggregation.record import PlainRecord, PlannedRecord, RecordedGated, RecordedMember, read_record
from boltz_core.aggregation.rules.parameters import Seed, Value
from boltz_core.aggregation.rules.registry import step_named
from boltz_core.ingest.staging import NORM_TOLERANCE
from boltz_core.rounds.policy import PolicyError, check_policy
from boltz_protocol import codec
from boltz_protocol.messages import RoundPolicy

PLAIN_RULE = "weighted_mean"


@dataclass(frozen=True)
class Member:
    """One staged update of a frozen round. `examples` is the client's claim."""

    update_id: str
    norm: float
    examples: int


@dataclass(frozen=True)
class Gated:
    """An update that the gate has put out, and why."""

    update_id: str
    norm: float
    reason: str


@dataclass(frozen=True)
class Planned:
    """What a decision beyond the plain weighted mean has more.

    `byzantine` is f. A linear rule's result is sum(weights * members) / sum(weights) * `mass`; a statistic looks at
    `rows`, None where these are the members with their weights.
    """

    plan: Plan
    byzantine: int
    gated: tuple[Gated, ...]
    mass: float
    rows: tuple[MixedRow, ...] | None
    geometry_sha256: str | None


@dataclass(frozen=True)
class Decision:
    """What pass 2 carries out. `members` are in the order of their update ids; `weights` belong to them."""

    rule: str
    bound: float
    example_cap: int
    members: tuple[Member, ...]
    weights: tuple[int, ...]
    planned: Planned | None = None

    @cached_property
    def grid(self) -> Grid:
        """The grid of the bound."""
        return Grid.for_bound(self.bound)

    @property
    def total_weight(self) -> int:
        """The sum of the integer weights."""
        return sum(self.weights)

    @property
    def divisor(self) -> float:
        """What a linear rule's weighted sum is divided by: the total weight, more where rows were shortened."""
        return self.total_weight if self.planned is None else self.total_weight / self.planned.mass

    @property
    def is_linear(self) -> bool:
        """Whether the result is a weighted sum of members, and `weights` are those of the sum.

        Otherwise they are what the rule was given for each member.
        """
        return self.planned is None or self.planned.plan.rule.kind == "linear"

    @property
    def shares(self) -> tuple[float, ...]:
        """Each member's share of the weight; they sum to 1."""
        return tuple(weight / self.total_weight for weight in self.weights)

    def record(self) -> dict[str, Any]:
        """The decision as JSON values; `from_record` gives it back exactly."""
        recorded: dict[str, Any] = msgspec.to_builtins(_recorded(self))
        return recorded

    @property
    def digest(self) -> str:
        """SHA-256 of the record in canonical JSON, hexadecimal: what the log commits to."""
        return hashlib.sha256(codec.encode(self.record())).hexdigest()

    @classmethod
    def from_record(cls, recorded: Mapping[str, Any]) -> "Decision":
        """Read a record, and refuse one that contradicts itself.

        Version 1 is decided again. The weights and rows of version 2 came from a geometry: here they only have to be
        possible.

        Raises:
            AggregationError: not a record of a decision, or one that contradicts itself.
        """
        try:
            decision = _read(read_record(recorded))
        except (msgspec.ValidationError, PolicyError, ValueError) as error:
            raise AggregationError(f"not a record of a decision: {error}") from error
        if decision.record() != recorded:
            raise AggregationError("the record's order, weights or spelling do not follow from its members")
        return decision


def _recorded(decision: Decision) -> PlainRecord | PlannedRecord:
    members = [
        RecordedMember(member.update_id, repr(float(member.norm)), member.examples, weight)
        for member, weight in zip(decision.members, decision.weights, strict=True)
    ]
    bound, planned = repr(float(decision.bound)), decision.planned
    if planned is None:
        return PlainRecord(1, decision.rule, bound, decision.example_cap, members)
    return PlannedRecord(
        v=2,
        rule=decision.rule,
        before=[step.name for step in planned.plan.before],
        byzantine=planned.byzantine,
        parameters={
            name: repr(value) if isinstance(value, float) else value for name, value in planned.plan.parameters.items()
        },
        bound=bound,
        example_cap=decision.example_cap,
        members=members,
        mass=repr(planned.mass),
        gated=[RecordedGated(out.update_id, repr(float(out.norm)), out.reason) for out in planned.gated],
        rows=None if planned.rows is None else [row.record() for row in planned.rows],
        geometry_sha256=planned.geometry_sha256,
    )


def _read(recorded: PlainRecord | PlannedRecord) -> Decision:
    members = [Member(row.update_id, float(row.norm), row.examples) for row in recorded.members]
    if isinstance(recorded, PlainRecord):
        return _decide(members, rule=recorded.rule, bound=float(recorded.bound), example_cap=recorded.example_cap)
    ordered = ordered_members(members, float(recorded.bound))
    weights = tuple(row.weight for row in recorded.members)
    if not (all(0 <= weight <= MAX_WEIGHT for weight in weights) and any(weights)):
        raise AggregationError("the record's weights cannot be")
    return Decision(
        recorded.rule, float(recorded.bound), recorded.example_cap, ordered, weights, _read_planned(recorded)
    )


def _read_planned(recorded: PlannedRecord) -> Planned:
    mass, rows = float(recorded.mass), recorded.rows
    if not 0 < mass <= 1:
        raise AggregationError(f"the record's mass is {mass}")
    return Planned(
        plan=_read_plan(recorded),
        byzantine=recorded.byzantine,
        gated=tuple(Gated(out.update_id, float(out.norm), out.reason) for out in recorded.gated),
        mass=mass,
        rows=None if rows is None else tuple(MixedRow.from_record(row, members=len(recorded.members)) for row in rows),
        geometry_sha256=recorded.geometry_sha256,
    )


def _read_plan(recorded: PlannedRecord) -> Plan:
    """The plan with f as it was at the freeze, whether it was given or followed from the number of members."""
    texts = {seed.name for name in recorded.before for seed in step_named(name).parameters if isinstance(seed, Seed)}
    parameters: dict[str, Value] = {
        name: float(value) if isinstance(value, str) and name not in texts else value
        for name, value in recorded.parameters.items()
    }
    return make_plan(recorded.rule, byzantine=recorded.byzantine, before=recorded.before, parameters=parameters)


def without_members(record: Mapping[str, Any], update_ids: Collection[str]) -> dict[str, Any]:
    """A record that no longer says which norm and how many examples these updates had; any number of times.

    Who was in with which weight stays, and who was gated. `Decision.from_record` refuses the result: its weights follow
    from nothing.
    """
    members = [
        row | {"norm": None, "examples": None} if row["update_id"] in update_ids else row for row in record["members"]
    ]
    kept = {**record, "members": members}
    if "gated" in record:
        kept["gated"] = [
            row | {"norm": None, "reason": None} if row["update_id"] in update_ids else row for row in record["gated"]
        ]
    return kept


def decide(members: Sequence[Member], *, policy: RoundPolicy) -> Decision:
    """Decide how a frozen round is combined. The order in which members are given does not matter.

    Raises:
        PolicyError: a policy that no round may have.
        TooFewUpdatesError: fewer members than the quorum.
        AggregationError: an update listed twice, a norm that ingest would have refused, or a claim below one example.
    """
    check_policy(policy)
    check_quorum(members, policy)
    return _decide(members, rule=policy.rule, bound=policy.max_norm, example_cap=policy.example_cap)


def check_quorum(members: Sequence[Member], policy: RoundPolicy) -> None:
    """Refuse fewer members than the quorum.

    Raises:
        TooFewUpdatesError: with both numbers.
    """
    if len(members) < policy.quorum:
        raise TooFewUpdatesError(f"{len(members)} staged updates; the quorum is {policy.quorum}")


def _decide(members: Sequence[Member], *, rule: str, bound: float, example_cap: int) -> Decision:
    if rule != PLAIN_RULE:
        raise AggregationError(f"a plain record is of the rule {PLAIN_RULE}, not {rule!r}")
    ordered = ordered_members(members, bound)
    weights = integer_weights([min(member.examples, example_cap) for member in ordered])
    return Decision(rule=rule, bound=bound, example_cap=example_cap, members=ordered, weights=tuple(weights.tolist()))


def ordered_members(members: Sequence[Member], bound: float) -> tuple[Member, ...]:
    """The members in the order of their update ids.

    Raises:
        AggregationError: a bound that no grid has, an update listed twice, a norm beyond the bound, or a claim below
            one example.
    """
    Grid.for_bound(bound)
    ordered = tuple(sorted(members, key=lambda member: member.update_id))
    if len({member.update_id for member in ordered}) != len(ordered):
        raise AggregationError("an update is listed twice")
    for member in ordered:
        if not 0 <= member.norm <= bound * (1 + NORM_TOLERANCE) or member.examples < 1:
            raise AggregationError(
                f"update {member.update_id} has norm {member.norm} (bound {bound}) and {member.examples} examples"
            )
    return ordered
