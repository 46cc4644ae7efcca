"""Versions in the admin: where each came from, what the gate found, its metrics, its signed manifest, its weights.

Which one is current is an operator's decision too: promote, roll back, judge again.
"""

from typing import Any

import msgspec
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.views.decorators.http import require_safe

from apps.audit import services as audit
from apps.operator_pages import display
from apps.operator_pages.columns import column
from apps.operator_pages.decisions import DecidingAdmin, Decision, ReasonForm
from apps.rounds import services, versions
from apps.rounds.admin import shared_metrics, verdicts
from apps.rounds.models import ModelVersion
from apps.rounds.services import promotion
from boltz_core.rounds.states import VersionState
from boltz_protocol.errors import ServerFaultError

DECISIONS = (
    Decision(
        name="promote",
        label="Promote",
        consequence=(
            "This version becomes the current one: clients get it, and the next round opens on it. A round that is "
            "open goes on, on its own base, and what comes of it stays a candidate."
        ),
        done="it is the current version",
        carry_out=services.promote,
        applies=lambda version: promotion.may_be_promoted(version, current_of(version)),
        form=ReasonForm,
    ),
    Decision(
        name="roll-back",
        label="Roll back to this version",
        consequence=(
            "This version becomes the current one again: clients get it, and the next round opens on it. The versions "
            "after it are marked as rolled back and keep existing. If the live round is on top of one of them it is "
            "abandoned and its updates expire; if it is being combined already, its version stays a candidate."
        ),
        done="it is the current version again",
        carry_out=services.roll_back,
        applies=lambda version: promotion.may_be_rolled_back_to(version, current_of(version)),
        form=ReasonForm,
        danger=True,
    ),
    Decision(
        name="judge-again",
        label="Judge again",
        consequence=(
            "A worker measures this candidate again, by the gate that its model has now. If it passes it becomes the "
            "current version. The model's next round waits for that."
        ),
        done="it waits for its verdict",
        carry_out=services.judge_again,
        applies=verdicts.can_be_judged_again,
    ),
)


def current_of(version: Any) -> ModelVersion:
    """The current version of the same model, as far as the page has asked for it."""
    return ModelVersion(number=version.current_number, model=version.model, state=VersionState.CURRENT)


@admin.register(ModelVersion)
class ModelVersionAdmin(DecidingAdmin):
    """Versions, newest first."""

    actor_of = staticmethod(audit.actor_of)
    decisions = DECISIONS
    nothing_yet = "Version 0 comes with a model, each later one from a round."
    list_display = (
        "label",
        "state_word",
        "verdict_word",
        "round_link",
        "members",
        "step_norm_short",
        "digest_short",
        "published",
        "weights_link",
    )
    list_display_links = ("label",)
    list_filter = ("model", "state", "verdict__state")
    list_select_related = ("model", "round__model", "verdict")
    search_fields = ("model__name", "weights_sha256__exact")
    search_help_text = "Model, or the whole SHA-256 of the weights"
    ordering = ("-created_at", "-number")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("label", "state_word"),
                    ("meaning", "verdict_word"),
                    ("base_link", "round_link"),
                    ("members", "step_norm_short"),
                    "published_exactly",
                )
            },
        ),
        (
            "Gate",
            {
                "fields": ("verdict_table",),
                "classes": ("op-whole",),
                "description": "What was found on the operator's hold-out; clients do not see it.",
            },
        ),
        (
            "Metrics",
            {
                "fields": ("metrics",),
                "classes": ("op-whole",),
                "description": (
                    "What its members' clients claim about their own training, on their own data; never trusted. The "
                    "mean is weighted as the version weighs their updates. Nothing is shown that fewer than "
                    f"{shared_metrics.LEAST_CLIENTS} clients have shared."
                ),
            },
        ),
        ("Weights", {"fields": ("digest_full", "weights_size", "weights_link")}),
        ("Manifest, as clients verify it", {"fields": ("manifest_json",), "classes": ("op-whole",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ModelVersion]:
        """With the number of the version that is current."""
        current = ModelVersion.objects.filter(model=OuterRef("model"), state=VersionState.CURRENT)
        rows: QuerySet[ModelVersion] = super().get_queryset(request)
        return rows.annotate(current_number=Subquery(current.values("number")[:1]))

    def get_urls(self) -> list[URLPattern]:
        """An address for the weights."""
        view = self.admin_site.admin_view(require_safe(self.weights_view))
        return [path("<path:object_id>/weights/", view, name="rounds_modelversion_weights"), *super().get_urls()]

    def weights_view(self, request: HttpRequest, object_id: str) -> HttpResponse | StreamingHttpResponse:
        """The weights as a file, checked against their digest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        version = self.get_object(request, unquote(object_id))
        if version is None:
            raise Http404
        try:
            versions.verify(version)
        except ServerFaultError as error:
            messages.error(request, f"The weights cannot be given out: {error.message}")
            return HttpResponseRedirect(display.address_of(version))
        blocks = versions.byte_range(version, 0, version.weights_bytes)
        response = StreamingHttpResponse(blocks, content_type="application/octet-stream")
        response["Content-Length"] = str(version.weights_bytes)
        response["Content-Disposition"] = f'attachment; filename="{version.model.name}-v{version.number}.safetensors"'
        response["Cache-Control"] = "private, no-store"
        return response

    verdict_word = column("verdict", verdicts.word, ordering="verdict__state")
    verdict_table = column("measured", verdicts.table)
    meaning = column("that means", lambda version: verdicts.MEANINGS[VersionState(version.state)])
    label = column("version", str, ordering="number")
    state_word = column("state", lambda version: display.badge(version.state), ordering="state")

    @admin.display(description="round", ordering="round__number")
    def round_link(self, version: ModelVersion) -> Any:
        """The round that made it."""
        if version.round is None:
            return "seed version"
        return display.link_to(version.round, f"round {version.round.number}")

    base_link = column("base version", lambda version: display.link_to(version.base))
    step_norm_short = column("step norm", lambda version: display.number(version.step_norm), ordering="step_norm")
    digest_short = column("SHA-256", lambda version: display.short(version.weights_sha256), ordering="weights_sha256")
    digest_full = column("SHA-256", lambda version: display.code(version.weights_sha256))
    weights_size = column("size", lambda version: display.size(version.weights_bytes))
    published = column("published (UTC)", lambda version: display.moment(version.created_at), ordering="created_at")
    published_exactly = column("published", lambda version: display.exact_moment(version.created_at))

    metrics = column("as claimed", shared_metrics.table_of)

    @admin.display(description="weights")
    def weights_link(self, version: ModelVersion) -> Any:
        """The file."""
        address = reverse("admin:rounds_modelversion_weights", args=[version.pk])
        return format_html('<a class="text-link" href="{}" download>Download</a>', address)

    @admin.display(description="manifest")
    def manifest_json(self, version: ModelVersion) -> Any:
        """Decoded, with the key that signed it."""
        signed_by = {"signed by": version.signed_manifest().kid}
        return display.json_block({**signed_by, **msgspec.to_builtins(version.read_manifest())})
