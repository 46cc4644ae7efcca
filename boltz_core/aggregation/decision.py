"""The decision of a run: who is in it, in which order, with which weight, under which bound.

Made once from N numbers, never from the updates, then recorded and replayed. Members are put in the order of their
update ids and weighted by their example counts, capped by the policy. The record is what a replay reads, and its digest
is in the log; numbers that are not integers are strings in it. What a record says of a client that is erased can be
taken out of it: the weight stays, since the published version holds it, and the digest no longer matches.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from boltz_core.aggregation.errors import AggregationError, TooFewUpdatesError
from boltz_core.aggregation.grid import Grid
from boltz_core.aggregation.integer_weights import integer_weights
from boltz_core.ingest.staging import NORM_TOLERANCE
from boltz_core.rounds.policy import AVAILABLE_RULES, check_policy
from boltz_protocol import codec
from boltz_protocol.messages import RoundPolicy


@dataclass(frozen=True)
class Member:
    """One staged update of a frozen round. `examples` is the client's claim."""

    update_id: str
    norm: float
    examples: int


@dataclass(frozen=True)
class Decision:
    """What pass 2 carries out. `members` are in the order of their update ids; `weights` belong to them."""

    rule: str
    bound: float
    example_cap: int
    members: tuple[Member, ...]
    weights: tuple[int, ...]

    @cached_property
    def grid(self) -> Grid:
        """The grid of the bound."""
        return Grid.for_bound(self.bound)

    @property
    def total_weight(self) -> int:
        """The sum of the integer weights."""
        return sum(self.weights)

    @property
    def shares(self) -> tuple[float, ...]:
        """Each member's share of the result; they sum to 1."""
        return tuple(weight / self.total_weight for weight in self.weights)

    def record(self) -> dict[str, Any]:
        """The decision as JSON values; `from_record` gives it back exactly."""
        return {
            "v": 1,
            "rule": self.rule,
            "bound": repr(float(self.bound)),
            "example_cap": self.example_cap,
            "members": [
                {
                    "update_id": member.update_id,
                    "norm": repr(float(member.norm)),
                    "examples": member.examples,
                    "weight": weight,
                }
                for member, weight in zip(self.members, self.weights, strict=True)
            ],
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the record in canonical JSON, hexadecimal: what the log commits to."""
        return hashlib.sha256(codec.encode(self.record())).hexdigest()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Decision":
        """Read a record, and decide again from what it holds: weights that do not follow from it are refused.

        Raises:
            AggregationError: not a record of a decision, or one that contradicts itself.
        """
        try:
            read = msgspec.convert(dict(record), _Record)
            members = tuple(Member(row.update_id, float(row.norm), row.examples) for row in read.members)
            bound = float(read.bound)
        except (msgspec.ValidationError, ValueError) as error:
            raise AggregationError(f"not a record of a decision: {error}") from error
        decision = _decide(members, rule=read.rule, bound=bound, example_cap=read.example_cap)
        if decision.record() != record:
            raise AggregationError("the record's order, weights or spelling do not follow from its members")
        return decision


def without_members(record: Mapping[str, Any], update_ids: Collection[str]) -> dict[str, Any]:
    """A record that no longer says which norm and how many examples these updates had; any number of times.

    Who was in with which weight stays. `Decision.from_record` refuses the result: its weights follow from nothing.
    """
    members = [
        row | {"norm": None, "examples": None} if row["update_id"] in update_ids else row for row in record["members"]
    ]
    return {**record, "members": members}


class _RecordedMember(msgspec.Struct, forbid_unknown_fields=True):
    update_id: str
    norm: str
    examples: int
    weight: int


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    v: int
    rule: str
    bound: str
    example_cap: int
    members: list[_RecordedMember]


def decide(members: Sequence[Member], *, policy: RoundPolicy) -> Decision:
    """Decide how a frozen round is combined. The order in which members are given does not matter.

    Raises:
        PolicyError: a policy that no round may have.
        TooFewUpdatesError: fewer members than the quorum.
        AggregationError: an update listed twice, a norm that ingest would have refused, or a claim below one example.
    """
    check_policy(policy)
    if len(members) < policy.quorum:
        raise TooFewUpdatesError(f"{len(members)} staged updates; the quorum is {policy.quorum}")
    return _decide(members, rule=policy.rule, bound=policy.max_norm, example_cap=policy.example_cap)


def _decide(members: Sequence[Member], *, rule: str, bound: float, example_cap: int) -> Decision:
    if rule not in AVAILABLE_RULES:
        raise AggregationError(f"rule {rule!r} is not one of {', '.join(AVAILABLE_RULES)}")
    Grid.for_bound(bound)
    ordered = tuple(sorted(members, key=lambda member: member.update_id))
    if len({member.update_id for member in ordered}) != len(ordered):
        raise AggregationError("an update is listed twice")
    for member in ordered:
        if not 0 <= member.norm <= bound * (1 + NORM_TOLERANCE) or member.examples < 1:
            raise AggregationError(
                f"update {member.update_id} has norm {member.norm} (bound {bound}) and {member.examples} examples"
            )
    weights = integer_weights([min(member.examples, example_cap) for member in ordered])
    return Decision(rule=rule, bound=bound, example_cap=example_cap, members=ordered, weights=tuple(weights.tolist()))
