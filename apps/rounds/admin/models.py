"""Models in the admin: made by a form, then read-only but for the policy and schedule of their next rounds.

`boltz_federated.admin` registers this with the models that come with the mesh to start from: they are the project's.
"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apps.audit import services as audit
from apps.operator_pages import display, form_pages
from apps.operator_pages.columns import column
from apps.operator_pages.decisions import DecidingAdmin, Decision
from apps.operator_pages.form_pages import Page
from apps.rounds import services
from apps.rounds.admin import policy_fields, task_templates, verdicts
from apps.rounds.admin.model_forms import NewModelForm, PolicyForm, ScheduleForm
from apps.rounds.models import LIVE_ROUND_STATES, FederatedModel, ModelVersion, Round
from boltz_core.rounds.states import VersionState
from boltz_protocol.errors import BoltzError


def open_round(model: FederatedModel, *, actor: str) -> None:
    """The model's next round, now."""
    services.open_round(model, actor=actor)


def change_policy(model: FederatedModel, *, actor: str, **fields: Any) -> None:
    """The rules of its next rounds."""
    services.change_policy(model, policy_fields.policy_of(fields), actor=actor)


DECISIONS = (
    Decision(
        name="open",
        label="Open a round now",
        consequence=(
            "The model's next round opens at once, on top of its current version, with the policy that the "
            "model has now."
        ),
        done="its next round is open",
        carry_out=open_round,
        applies=lambda model: model.live_round is None,
    ),
    Decision(
        name="policy",
        label="Change policy",
        consequence=(
            "The new policy holds from the next round on; a round that is scheduled or open keeps the one it has."
        ),
        done="the policy of its next round is changed",
        carry_out=change_policy,
        applies=lambda _: True,
        form=PolicyForm,
    ),
    Decision(
        name="schedule",
        label="Change schedule",
        consequence="It says whether and when the next round opens once the present one has ended.",
        done="its schedule is changed",
        carry_out=services.change_schedule,
        applies=lambda _: True,
        form=ScheduleForm,
    ),
)


class FederatedModelAdmin(DecidingAdmin):
    """Models by name. `starters`: more models to start from, each with a `task` and a `policy`."""

    actor_of = staticmethod(audit.actor_of)
    decisions = DECISIONS
    starters: Mapping[str, Mapping[str, Any]] = {
        name: {"task": task, "policy": task_templates.POLICY} for name, task in task_templates.TASKS.items()
    }
    nothing_yet = "A model is a named thing that clients train together."
    list_display = ("name", "mode", "task_kind", "parameters", "version_link", "round_link", "schedule")
    list_filter = ("mode", "keeps_open")
    search_fields = ("name",)
    search_help_text = "Name"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "mode"),
                    ("task_kind", "parameters"),
                    ("version_link", "round_link"),
                    ("schedule", "created"),
                )
            },
        ),
        (
            "Gate",
            {
                "fields": ("gate_text", "holdout_sha256"),
                "description": "What a new version must pass before clients get it.",
            },
        ),
        ("Policy of the next round", {"fields": ("policy_table",), "classes": ("op-whole",)}),
        ("Task", {"fields": ("target", "features"), "description": "What it predicts from which features; for life."}),
        ("Task as JSON", {"fields": ("task_json",), "classes": ("collapse", "op-whole")}),
        ("Layout", {"fields": ("layout_digest_full", "tensors")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[FederatedModel]:
        """With the current version and the round that has not ended."""
        versions = ModelVersion.objects.filter(model=OuterRef("pk"), state=VersionState.CURRENT)
        rounds = Round.objects.filter(model=OuterRef("pk"), state__in=LIVE_ROUND_STATES)
        return (
            super()
            .get_queryset(request)
            .annotate(
                current_version=Subquery(versions.values("pk")[:1]),
                current_number=Subquery(versions.values("number")[:1]),
                live_round=Subquery(rounds.values("pk")[:1]),
                live_number=Subquery(rounds.values("number")[:1]),
                live_state=Subquery(rounds.values("state")[:1]),
            )
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """By the form of this page alone, which calls the service."""
        return bool(request.user.has_perm("rounds.add_federatedmodel"))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A form with a task and policy to start from."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            form = NewModelForm(request.POST, request.FILES)
            if form.is_valid() and (model := self.create(request, form)):
                messages.success(
                    request, f"{model} was made, with version 0. Open its first round when clients are ready."
                )
                return HttpResponseRedirect(display.address_of(model))
        else:
            form = NewModelForm(initial=self.initial_from(request.GET.get("starter", "linear")))
        page = Page(
            title="Make a model",
            submit="Make the model",
            consequence=(
                "The model and its version 0 are made; name, task and mode hold for life. Its policy may "
                "change between rounds."
            ),
            links=tuple((name, f"?starter={name}") for name in self.starters),
            back=reverse("admin:rounds_federatedmodel_changelist"),
        )
        return form_pages.render(self, request, form, page)

    def initial_from(self, starter: str) -> dict[str, Any]:
        """What the form shows for a starter."""
        start = self.starters.get(starter, self.starters["linear"])
        task = json.dumps(start["task"], indent=2)
        name = starter if starter in self.starters and starter not in task_templates.TASKS else ""
        return {"name": name, "task": task, **start["policy"]}

    def create(self, request: HttpRequest, form: NewModelForm) -> FederatedModel | None:
        """The new model; None when the service refuses, and then the form says why."""
        fields = form.cleaned_data
        wanted = services.ModelRequest(
            name=fields["name"],
            task=fields["task"],
            policy=policy_fields.policy_of(fields),
            keeps_open=fields["keeps_open"],
            pause_seconds=fields["pause_seconds"],
            weights=fields["weights"],
        )
        try:
            return services.create_model(wanted, actor=audit.actor_of(request.user))
        except BoltzError as error:
            form.add_refusal(error)
            return None

    @admin.display(description="task")
    def task_kind(self, model: FederatedModel) -> str:
        """Kind and size in a word."""
        task = model.task_spec()
        return f"{task.kind}, {len(task.features)} features" if task.features else task.kind

    @admin.display(description="current version")
    def version_link(self, model: Any) -> Any:
        """What clients get."""
        if model.current_version is None:
            return display.NOTHING
        return display.link_to(ModelVersion(pk=model.current_version), f"v{model.current_number}")

    @admin.display(description="round")
    def round_link(self, model: Any) -> Any:
        """The round that has not ended."""
        if model.live_round is None:
            return "none open"
        return display.link_with_badge(Round(pk=model.live_round), f"round {model.live_number}", model.live_state)

    @admin.display(description="opens rounds", ordering="keeps_open")
    def schedule(self, model: FederatedModel) -> str:
        """By itself or by hand."""
        if not model.keeps_open:
            return "by hand"
        pause = f", {display.seconds(model.pause_seconds)} after the last" if model.pause_seconds else ""
        return f"by itself{pause}"

    gate_text = column("gate", verdicts.gate_in_words)
    holdout_sha256 = column("SHA-256 of the hold-out", verdicts.holdout_digest)
    created = column("made", lambda model: display.exact_moment(model.created_at))
    policy_table = column(
        "policy",
        lambda model: display.table(
            ("rule", "value", "what follows"), policy_fields.policy_rows(model.round_policy()), empty=""
        ),
    )
    task_json = column("task", lambda model: display.json_block(msgspec.to_builtins(model.task_spec())))

    @admin.display(description="features")
    def features(self, model: FederatedModel) -> Any:
        """Each with its scaling."""
        task = model.task_spec()
        rows = list(zip(task.features, task.center, task.scale, strict=True))
        return display.table(("feature", "center", "scale"), rows, empty="A custom task: its participants know.")

    @admin.display(description="target")
    def target(self, model: FederatedModel) -> str:
        """What is predicted, and how a prediction is judged."""
        task = model.task_spec()
        clip = f"; scaled features are clipped at {task.clip:g}" if task.clip is not None else ""
        return f"{task.target}, judged by {task.metric}{clip}"

    layout_digest_full = column("layout digest", lambda model: display.code(model.layout_digest))

    @admin.display(description="tensors")
    def tensors(self, model: FederatedModel) -> Any:
        """Names and shapes."""
        rows = [(display.code(spec["name"]), " x ".join(map(str, spec["shape"]))) for spec in model.layout]
        return display.table(("tensor", "shape"), rows, empty="")
