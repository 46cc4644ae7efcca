"""The forms that make a model and change its policy or schedule. The services that they call check what they say."""

import json
from typing import Any

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
from django import forms
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from apps.operator_pages.form_pages import OperatorForm
from apps.rounds.admin import policy_fields
from apps.rounds.models import FederatedModel
from boltz_protocol.messages import TaskSpec

MAX_PAUSE_SECONDS = 366 * 24 * 3600
# larger first weights come by `manage.py create_model --weights`
MAX_WEIGHTS_BYTES = 64 << 20
POLICY_CODES = {"mode_not_available": "mode", "rule_not_available": "rule"}


class PolicyForm(OperatorForm):
    """The rules of a model's next rounds."""

    fields_of_codes = POLICY_CODES
    groups = (
        ("Limits on one update", "", policy_fields.LIMITS_GROUP),
        ("The round", "", policy_fields.ROUND_GROUP),
        ("How updates are combined", "", policy_fields.RULE_GROUP),
    )

    def __init__(self, *args: Any, row: FederatedModel | None = None, initial: Any = None, **kwargs: Any) -> None:
        """Shows the present policy of a model."""
        if row is not None:
            initial = policy_fields.initial_of(row.round_policy())
        super().__init__(*args, row=row, initial=initial, **kwargs)
        for field in policy_fields.FIELDS:
            self.fields[field.name] = policy_fields.form_field(field)


class ScheduleForm(OperatorForm):
    """When a model opens its rounds."""

    keeps_open = forms.BooleanField(
        label="Opens rounds by itself",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text=(
            "When a round has ended the next one is scheduled. Switched off, rounds are opened by hand; the "
            "present one goes on."
        ),
    )
    pause_seconds = forms.IntegerField(
        label="Pause (seconds)",
        min_value=0,
        max_value=MAX_PAUSE_SECONDS,
        initial=0,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Between the end of a round and the opening of the next; 0 opens it at once.",
    )

    def __init__(self, *args: Any, row: FederatedModel | None = None, initial: Any = None, **kwargs: Any) -> None:
        """Shows the present schedule of a model."""
        if row is not None:
            initial = {"keeps_open": row.keeps_open, "pause_seconds": row.pause_seconds}
        super().__init__(*args, row=row, initial=initial, **kwargs)


class NewModelForm(PolicyForm, ScheduleForm):
    """What a new model is made of."""

    fields_of_codes = POLICY_CODES | {
        "invalid_name": "name",
        "model_exists": "name",
        "invalid_task": "task",
        "layout_mismatch": "weights",
        "malformed_tensors": "weights",
    }
    groups = (
        ("What is trained", "", ("name", "task", "weights")),
        *PolicyForm.groups,
        ("Schedule", "", ("keeps_open", "pause_seconds")),
    )

    name = forms.CharField(
        max_length=64,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "boltz-core"}),
        help_text="For life. 1 to 64 characters: lower-case letters, digits, dot, dash and underscore.",
    )
    task = forms.CharField(
        label="Task (JSON)",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 24, "class": "op-code", "spellcheck": "false"}),
        help_text="For life. What the model predicts from which features; each is scaled by clip((x - center) / "
        "scale). "
        "kind is linear, mlp (then hidden lists the widths of its layers) or custom; metric is mse, mae or r2.",
    )
    weights = forms.FileField(
        label="First weights (safetensors)",
        required=False,
        widget=UnfoldAdminFileFieldWidget,
        help_text="For a custom task only; the other tasks have first weights of their own. At most 64 MiB.",
    )

    def clean_task(self) -> TaskSpec:
        """The task as a message."""
        try:
            return msgspec.convert(json.loads(self.cleaned_data["task"]), TaskSpec)
        except (ValueError, RecursionError, msgspec.ValidationError) as error:
            raise forms.ValidationError(f"This is not a task: {error}") from error

    def clean_weights(self) -> dict[str, np.ndarray] | None:
        """The tensors of the file; safetensors holds numbers and nothing that runs."""
        file = self.cleaned_data["weights"]
        if not file:
            return None
        if file.size > MAX_WEIGHTS_BYTES:
            raise forms.ValidationError("The file is larger than 64 MiB; use manage.py create_model --weights.")
        try:
            return safetensors.numpy.load(file.read())
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
            raise forms.ValidationError(f"This is not a safetensors file: {error}") from error
