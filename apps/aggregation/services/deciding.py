"""What a run is decided from, and the decision itself; the rules are boltz_core's."""

import secrets
from dataclasses import dataclass
from typing import Any

from apps.aggregation.models import Run
from apps.aggregation.services import membership
from apps.rounds.models import Round
from boltz_core.aggregation import decision
from boltz_core.aggregation.decision import Decision, Member
from boltz_core.aggregation.geometry import Geometry
from boltz_core.aggregation.plan import Plan, check_conditions
from boltz_core.aggregation.planned_decision import Admitted, Terms, admit, decide_planned
from boltz_core.aggregation.policy import plan_of
from boltz_protocol.messages import RoundPolicy

SEED_BYTES = 32


@dataclass(frozen=True)
class Case:
    """A frozen round as the engine sees it. `admitted` has passed the gate, which the plain weighted mean has not."""

    policy: RoundPolicy
    plan: Plan
    members: tuple[Member, ...]
    admitted: Admitted | None

    @property
    def terms(self) -> Terms:
        """The bounds of the round."""
        return terms_of(self.policy)


def case_of(round_: Round) -> Case:
    """The case of a round whose membership is fixed; the same each time, until a member is removed.

    Raises:
        TooFewUpdatesError: fewer than the quorum pass the gate.
        ConditionError: the rule cannot take so many.
    """
    policy = round_.round_policy()
    plan = plan_of(policy, seed=secrets.token_hex(SEED_BYTES))
    staged = tuple(
        Member(update_id=pk, norm=norm, examples=examples)
        for pk, norm, examples in membership.staged_updates(round_).values_list("pk", "norm", "examples")
    )
    if plan.is_plain:
        return Case(policy, plan, staged, None)
    admitted = admit(staged, terms=terms_of(policy))
    check_conditions(plan, len(admitted.members))
    return Case(policy, plan, admitted.members, admitted)


def terms_of(policy: RoundPolicy) -> Terms:
    """The bounds that hold for every update of a round."""
    return Terms(bound=policy.max_norm, example_cap=policy.example_cap, quorum=policy.quorum)


def decide(case: Case, geometry: Geometry | None = None) -> Decision:
    """The decision; with the geometry of the admitted members where the plan needs it.

    Raises:
        TooFewUpdatesError: fewer than the quorum are left.
    """
    if case.admitted is None:
        return decision.decide(case.members, policy=case.policy)
    return decide_planned(case.admitted, plan=case.plan, terms=case.terms, geometry=geometry)


def decision_of(run: Run) -> Decision:
    """What was decided; of a run that has got so far."""
    return Decision.from_record(run.decision or {})


def digests_of(decided: Decision | None) -> dict[str, Any]:
    """What the log says of a decision."""
    return {"decision_sha256": decided.digest} if decided else {}
