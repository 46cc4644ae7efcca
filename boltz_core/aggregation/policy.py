"""A round's policy as the engine reads it: which plan it makes, and whether each round under it could be aggregated."""

from boltz_core.aggregation.plan import Plan, check_policy_conditions, make_plan
from boltz_core.aggregation.rules.parameters import Seed, Value
from boltz_core.aggregation.rules.registry import STEPS
from boltz_core.aggregation.server_optimizer import ServerOptimizer, make_optimizer
from boltz_core.rounds.policy import check_policy
from boltz_protocol.messages import RoundPolicy

# a policy is checked before there is a seed: it is drawn when the round is frozen
NO_SEED = "00" * 32


def plan_of(policy: RoundPolicy, *, seed: str = NO_SEED) -> Plan:
    """The plan of a policy.

    Args:
        policy: its numbers may be spelled 2.0 for 2, as JSON has only one kind.
        seed: 64 hexadecimal digits, for a plan that draws something.

    Raises:
        PlanError: a rule, step or parameter that does not exist, or a value that cannot be.
    """
    parameters: dict[str, Value] = {name: _number(value) for name, value in policy.parameters.items()}
    seeds = [
        parameter.name
        for name in policy.before
        if name in STEPS
        for parameter in STEPS[name].parameters
        if isinstance(parameter, Seed)
    ]
    return make_plan(
        policy.rule,
        byzantine=policy.byzantine,
        before=policy.before,
        parameters=parameters | dict.fromkeys(seeds, seed),
    )


def optimizer_of(policy: RoundPolicy) -> ServerOptimizer:
    """The server optimizer of a policy.

    Raises:
        PlanError: an optimizer or parameter that does not exist, or a value that cannot be.
    """
    return make_optimizer(policy.optimizer, policy.optimizer_parameters)


def check_round_policy(policy: RoundPolicy) -> None:
    """Refuse a policy that cannot be kept with every number of updates from its quorum to its target.

    Raises:
        PolicyError: `mode_not_available`, `rule_not_available`, or `invalid_policy` with what is wrong and its bounds.
    """
    check_policy(policy)
    optimizer_of(policy)
    check_policy_conditions(plan_of(policy), quorum=policy.quorum, target=policy.target)


def _number(value: float) -> Value:
    return int(value) if value.is_integer() else value
