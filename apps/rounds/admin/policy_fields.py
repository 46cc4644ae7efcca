"""The fields of a round's policy in an operator's words: the unit of each, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from django import forms
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from apps.operator_pages import display
from apps.rounds.admin import engine_fields
from boltz_core.aggregation.rules.registry import RULES
from boltz_core.aggregation.server_optimizer import OPTIMIZERS
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
    PolicyField("rule", "Rule", "", engine_fields.explained_rules()),
    PolicyField("before", "Before the rule", "", engine_fields.explained_steps()),
    PolicyField(
        "byzantine",
        "Malicious updates",
        "",
        "How many the rule must tolerate (f). Left empty: a fifth of the updates in the round, rounded down. The "
        "condition of the rule must hold for every number of updates from the quorum to the target.",
    ),
    PolicyField("parameters", "Parameters of the rule", "", engine_fields.explained_parameters()),
    PolicyField("optimizer", "Server optimizer", "", engine_fields.explained_optimizers()),
    PolicyField(
        "optimizer_parameters",
        "Parameters of the optimizer",
        "",
        "Like learning_rate = 0.01, tau = 0.001. What is not named has its default.",
    ),
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
CHOICES = {
    "mode": MODES,
    "rule": [(rule, rule.replace("_", " ")) for rule in RULES],
    "optimizer": [(name, name) for name in OPTIMIZERS],
}
LIMITS_GROUP = ("max_norm", "example_cap")
RULE_GROUP = ("mode", "rule", "before", "byzantine", "parameters", "optimizer", "optimizer_parameters")
ROUND_GROUP = ("quorum", "target", "round_seconds", "replay_window_days")


def form_field(field: PolicyField) -> forms.Field:
    """The form field; its bounds are the service's to check."""
    common: dict[str, Any] = {
        "label": f"{field.label} ({field.unit})" if field.unit else field.label,
        "help_text": field.consequence,
    }
    if field.name in CHOICES:
        return forms.ChoiceField(choices=CHOICES[field.name], widget=UnfoldAdminSelectWidget, **common)
    if field.name == "before":
        return engine_fields.NamesField(**common)
    if field.name in {"parameters", "optimizer_parameters"}:
        return engine_fields.NumbersField(**common)
    if field.name == "byzantine":
        return forms.IntegerField(required=False, min_value=0, widget=UnfoldAdminIntegerFieldWidget, **common)
    if field.name == "max_norm":
        return forms.FloatField(widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}), **common)
    return forms.IntegerField(widget=UnfoldAdminIntegerFieldWidget, **common)


def policy_of(fields: Mapping[str, Any]) -> RoundPolicy:
    """The policy that a form's fields describe, not checked yet."""
    return RoundPolicy(**{field.name: fields[field.name] for field in FIELDS})


def initial_of(policy: RoundPolicy) -> dict[str, Any]:
    """What a form shows for a policy: names and numbers as they are typed."""
    shown = msgspec.structs.asdict(policy)
    in_words = {name: engine_fields.in_words(value) for name, value in shown.items() if isinstance(value, tuple | dict)}
    return shown | in_words | {"byzantine": "" if policy.byzantine is None else policy.byzantine}


def policy_rows(policy: RoundPolicy) -> list[tuple[str, str, str]]:
    """A policy as a table: what, how much, and what follows."""
    chosen = engine_fields.what_follows(policy)
    return [(field.label, value_of(policy, field), chosen.get(field.name, field.consequence)) for field in FIELDS]


def value_of(policy: RoundPolicy, field: PolicyField) -> str:
    """A value with its unit."""
    value = getattr(policy, field.name)
    if field.name == "byzantine":
        return "a fifth" if value is None else str(value)
    if isinstance(value, tuple | dict):
        return engine_fields.in_words(value) or display.NOTHING
    if field.name == "round_seconds":
        return display.seconds(value)
    return f"{value} {field.unit}".replace("_", " ").rstrip()
