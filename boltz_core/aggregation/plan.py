"""A plan: which rule, with what in front, tolerating how many, under which parameters. Said before any update is seen.

`make_plan` checks all that does not depend on the number of updates, `check_conditions` what does: once when a policy
is written, for each number that a round may have, and again at the freeze. f may be left to the number: floor(0.2 n).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from boltz_core.aggregation.errors import ConditionError
from boltz_core.aggregation.geometry import MAX_ROWS
from boltz_core.aggregation.rows import Rows
from boltz_core.aggregation.rules.parameters import PlanError, Value, Values, read_parameters
from boltz_core.aggregation.rules.registry import rule_named, step_named
from boltz_core.aggregation.rules.rule import Rule, Setting, Step
from boltz_core.arrays import Float64Vector


@dataclass(frozen=True)
class Plan:
    """A plan whose names and values exist; `byzantine` None stands for floor(0.2 n)."""

    rule: Rule
    before: tuple[Step, ...]
    byzantine: int | None
    parameters: Values

    @property
    def is_plain(self) -> bool:
        """Whether it is the weighted mean and nothing else."""
        return self.rule.name == "weighted_mean" and not self.before

    @property
    def needs_geometry(self) -> bool:
        """Whether a decision needs pass 1: norms of members are known from ingest, other distances are not."""
        return self.rule.needs_geometry or any(
            step.needs_geometry or (place and step.name == "norm_clip") for place, step in enumerate(self.before)
        )

    @property
    def most_members(self) -> int | None:
        """How many updates it can take, where it has to look at all of them at once; None: as many as there are."""
        return MAX_ROWS if self.needs_geometry or self.rule.kind == "statistic" else None

    @property
    def takes_weights(self) -> bool:
        """Whether weights change anything."""
        return self.rule.weighted or any(step.weighted for step in self.before)

    def byzantine_of(self, members: int) -> int:
        """F for so many members."""
        return members // 5 if self.byzantine is None else self.byzantine


def make_plan(
    rule: str,
    *,
    byzantine: int | None = None,
    before: Sequence[str] = (),
    parameters: Mapping[str, Value] | None = None,
) -> Plan:
    """Check and complete what was asked for.

    Raises:
        PlanError: a rule, step or parameter that does not exist, a step named twice, a value outside its bounds, or f
            below 0.
    """
    named, steps = rule_named(rule), tuple(step_named(name) for name in before)
    if len(set(before)) != len(before):
        raise PlanError(f"a step stands before the rule twice: {', '.join(before)}")
    if byzantine is not None and (isinstance(byzantine, bool) or not isinstance(byzantine, int) or byzantine < 0):
        raise PlanError(f"byzantine is {byzantine!r}; it must be a whole number from 0")
    declared = [*named.parameters, *(parameter for step in steps for parameter in step.parameters)]
    values = read_parameters(declared, parameters or {}, of=" after ".join((rule, *reversed(before))))
    return Plan(named, steps, byzantine, values)


def check_conditions(plan: Plan, members: int) -> None:
    """Refuse a number of members with which the plan's promise does not hold.

    Raises:
        ConditionError: with the numbers.
    """
    most = plan.most_members
    if most is not None and members > most:
        raise ConditionError(f"{plan.rule.name} looks at all updates at once, at most {most}; there are {members}")
    byzantine = plan.byzantine_of(members)
    for part, rows in _stages(plan, members):
        least = part.condition.least(byzantine)
        if rows < least:
            what = "updates" if rows == members else f"rows, made of {members} updates"
            raise ConditionError(
                f"{part.name} with f = {byzantine} needs {part.condition}, at least {least}; there are {rows} {what}"
            )


def _stages(plan: Plan, members: int) -> Iterator[tuple[Rule | Step, int]]:
    rows = members
    for step in plan.before:
        yield step, rows
        rows = step.rows_after(rows, plan.parameters)
    yield plan.rule, rows


def check_policy_conditions(plan: Plan, *, quorum: int, target: int) -> None:
    """Refuse a plan that could not be kept with some number of updates from the quorum to the target.

    A round may get some updates more than its target while it seals, so the target is half of what the plan can take.

    Raises:
        PlanError: with the first such number, or the highest target.
    """
    if plan.most_members is not None and target > plan.most_members // 2:
        raise PlanError(
            f"{plan.rule.name} looks at all updates at once: the target is {target}; it must be at most "
            f"{plan.most_members // 2}"
        )
    for members in range(quorum, target + 1):
        try:
            check_conditions(plan, members)
        except ConditionError as error:
            raise PlanError(f"a round of {members} updates could not be aggregated: {error.message}") from error


def carry_out(plan: Plan, members: Rows) -> tuple[Rows, Float64Vector | None]:
    """Mix, then decide: the rows that the rule combines, and their coefficients where the rule is linear.

    Raises:
        ConditionError: too few rows.
        AggregationError: distances are needed and were not given.
    """
    check_conditions(plan, len(members))
    setting = Setting(plan.byzantine_of(len(members)), plan.parameters)
    rows = members
    for step in plan.before:
        rows = step.mix(rows, setting)
    if plan.rule.pick:
        rows = rows.picked(plan.rule.pick(rows, setting))
    return rows, plan.rule.coefficients(rows, setting) if plan.rule.coefficients else None
