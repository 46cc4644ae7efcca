"""The fields of a round's policy in an operator's words: the unit of each, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from django import forms
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from apps.operator_pages import display
from boltz_core.rounds.policy import AVAILABLE_RULES
from boltz_protocol.messages import Mode, RoundPolicy


@dataclass(frozen=True)
class PolicyField:
    """One field: its name in the message, its label, its unit, and the consequence of its value."""

    name: str
    label: str
    unit: str
    consequence: str


FIELDS = (
    PolicyField(
        "mode",
        "Mode",
        "",
        "What the model promises for life; it cannot be changed later. Only robust models exist so far.",
    ),
    PolicyField("rule", "Rule", "", "How staged updates become one step."),
    PolicyField(
        "max_norm",
        "Largest norm",
        "L2 norm",
        "In the units of the weights. A longer update is rejected (norm_too_large), so no single client can move "
        "the model further than this in "
        "a round.",
    ),
    PolicyField(
        "example_cap",
        "Cap on examples",
        "",
        "An update weighs as much as the examples that it claims, up to this many. Claims are not verified: the "
        "cap limits a lie.",
    ),
    PolicyField(
        "quorum",
        "Quorum",
        "staged updates",
        "With fewer, the round is abandoned. With two, each client could subtract its own update and know the "
        "other's: take three or more.",
    ),
    PolicyField("target", "Target", "accepted updates", "With this many the round seals before its deadline."),
    PolicyField("round_seconds", "Round length", "seconds", "From opening to deadline; 21600 is six hours."),
    PolicyField(
        "replay_window_days",
        "Replay window",
        "days",
        "For so long the sealed updates of a round are kept and it can be replayed bit for bit; then their key is "
        "destroyed.",
    ),
)
MODES = [(mode, mode) for mode in get_args(Mode)]
RULES = [(rule, rule.replace("_", " ")) for rule in AVAILABLE_RULES]
LIMITS_GROUP = ("max_norm", "example_cap")
ROUND_GROUP = ("quorum", "target", "round_seconds", "replay_window_days")


def form_field(field: PolicyField) -> forms.Field:
    """The form field; its bounds are the service's to check."""
    common: dict[str, Any] = {
        "label": f"{field.label} ({field.unit})" if field.unit else field.label,
        "help_text": field.consequence,
    }
    if field.name in {"mode", "rule"}:
        return forms.ChoiceField(
            choices=MODES if field.name == "mode" else RULES, widget=UnfoldAdminSelectWidget, **common
        )
    if field.name == "max_norm":
        return forms.FloatField(widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}), **common)
    return forms.IntegerField(widget=UnfoldAdminIntegerFieldWidget, **common)


def policy_of(fields: Mapping[str, Any]) -> RoundPolicy:
    """The policy that a form's fields describe, not checked yet."""
    return RoundPolicy(**{field.name: fields[field.name] for field in FIELDS})


def initial_of(policy: RoundPolicy) -> dict[str, Any]:
    """What a form shows for a policy."""
    return msgspec.structs.asdict(policy)


def policy_rows(policy: RoundPolicy) -> list[tuple[str, str, str]]:
    """A policy as a table: what, how much, and what follows."""
    return [(field.label, value_of(policy, field), field.consequence) for field in FIELDS]


def value_of(policy: RoundPolicy, field: PolicyField) -> str:
    """A value with its unit."""
    value = getattr(policy, field.name)
    if field.name == "round_seconds":
        return display.seconds(value)
    return f"{value} {field.unit}".replace("_", " ").rstrip()
