"""Every rule and every step that can stand in front of one, by name; admin and documents list them from here."""

from collections.abc import Mapping
from types import MappingProxyType

from boltz_core.aggregation.before import bucketing, nnm, norm_clip
from boltz_core.aggregation.rules import (
    bulyan,
    centered_clipping,
    geometric_median,
    krum,
    median,
    multi_krum,
    trimmed_mean,
    weighted_mean,
)
from boltz_core.aggregation.rules.parameters import PlanError
from boltz_core.aggregation.rules.rule import Rule, Step

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        module.RULE.name: module.RULE
        for module in (
            weighted_mean,
            median,
            trimmed_mean,
            krum,
            multi_krum,
            bulyan,
            geometric_median,
            centered_clipping,
        )
    }
)
STEPS: Mapping[str, Step] = MappingProxyType({module.STEP.name: module.STEP for module in (norm_clip, nnm, bucketing)})


def rule_named(name: str) -> Rule:
    """The rule.

    Raises:
        PlanError: `rule_not_available`.
    """
    if name not in RULES:
        raise PlanError(f"there is no rule {name!r}; there are {', '.join(RULES)}", code="rule_not_available")
    return RULES[name]


def step_named(name: str) -> Step:
    """The step in front of a rule.

    Raises:
        PlanError: `rule_not_available`.
    """
    if name not in STEPS:
        raise PlanError(
            f"nothing named {name!r} can stand before a rule; there are {', '.join(STEPS)}", code="rule_not_available"
        )
    return STEPS[name]
