"""The fields of a policy that name rules, steps, optimizers and their parameters, explained from their registries."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

from boltz_core.aggregation.rules.parameters import Parameter, Seed
from boltz_core.aggregation.rules.registry import RULES, STEPS
from boltz_core.aggregation.server_optimizer import OPTIMIZERS
from boltz_protocol.messages import RoundPolicy

MAX_LENGTH = 500


class NamesField(forms.CharField):
    """Names in order, separated by commas."""

    def __init__(self, **options: Any) -> None:
        """Never required."""
        widget = UnfoldAdminTextInputWidget(attrs={"placeholder": "norm_clip, nnm"})
        super().__init__(required=False, max_length=MAX_LENGTH, widget=widget, **options)

    def clean(self, value: Any) -> Any:
        """A tuple of names; which exist is the service's to say."""
        return tuple(name.strip() for name in super().clean(value).split(",") if name.strip())


class NumbersField(forms.CharField):
    """Numbers by name: `selected = 5, radius = 0.1`."""

    def __init__(self, **options: Any) -> None:
        """Never required."""
        widget = UnfoldAdminTextInputWidget(attrs={"placeholder": "name = number, name = number"})
        super().__init__(required=False, max_length=MAX_LENGTH, widget=widget, **options)

    def clean(self, value: Any) -> Any:
        """A number for each name; which exist is the service's to say."""
        numbers: dict[str, float] = {}
        for part in filter(str.strip, super().clean(value).split(",")):
            name, equals, number = (text.strip() for text in part.partition("="))
            try:
                numbers[name] = float(number)
            except ValueError as error:
                raise forms.ValidationError(f"{part.strip()!r} is not of the form name = number.") from error
            if not (name and equals):
                raise forms.ValidationError(f"{part.strip()!r} is not of the form name = number.")
        return numbers


def in_words(value: Iterable[str] | Mapping[str, float]) -> str:
    """Names, or numbers by name, as they are typed."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {number:g}" for name, number in value.items())
    return ", ".join(value)


def explained_rules() -> SafeString:
    """What each rule needs and tolerates."""
    return _listed(
        "How staged updates become one step. n updates, of which f are malicious:",
        ((rule.name, f"tolerates {rule.tolerates}. Needs {rule.condition}.") for rule in RULES.values()),
    )


def explained_steps() -> SafeString:
    """What can stand in front of a rule."""
    return _listed(
        "What is done to the updates first, in order; names separated by commas:",
        ((step.name, f"tolerates {step.tolerates}. Needs {step.condition}.") for step in STEPS.values()),
    )


def explained_parameters() -> SafeString:
    """Every parameter of every rule and step, with bounds and default."""
    parts = [*RULES.values(), *STEPS.values()]
    return _listed(
        "Like selected = 5. What is not named has its default:",
        (
            (f"{part.name}: {parameter.name}", _described(parameter))
            for part in parts
            for parameter in part.parameters
            if not isinstance(parameter, Seed)
        ),
    )


def explained_optimizers() -> SafeString:
    """What each optimizer does."""
    return _listed(
        "What makes the model's step of what the rule gives:",
        (
            (kind.name, "; ".join([kind.meaning, *(f"{one.name}: {_described(one)}" for one in kind.parameters)]))
            for kind in OPTIMIZERS.values()
        ),
    )


def what_follows(policy: RoundPolicy) -> dict[str, str]:
    """What the chosen names mean, field by field."""
    rule = RULES[policy.rule]
    return {
        "rule": f"Tolerates {rule.tolerates}. Needs {rule.condition}.",
        "before": "; ".join(f"{name}: {STEPS[name].tolerates}" for name in policy.before),
        "parameters": "What is not named has its default.",
        "optimizer": OPTIMIZERS[policy.optimizer].meaning,
        "optimizer_parameters": "What is not named has its default.",
    }


def _described(parameter: Parameter) -> str:
    bounds = f"{parameter.least:g} to {parameter.most:g}"
    return f"{parameter.meaning} ({bounds}" + (
        ")" if parameter.default is None else f", default {parameter.default:g})"
    )


def _listed(said: str, lines: Iterable[tuple[str, str]]) -> SafeString:
    """A sentence and a list under it."""
    return format_html(
        '{}<ul class="op-explained">{}</ul>',
        said,
        format_html_join("", "<li><code>{}</code> {}</li>", lines),
    )
