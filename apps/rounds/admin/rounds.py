"""Rounds in the admin: how far each has come, who is in it, and an operator's decisions about it.

`apps.aggregation.admin` registers this, with runs and their decisions added: they are the aggregation app's.
"""

from typing import Any

import msgspec
from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone

from apps.audit import services as audit
from apps.operator_pages import display
from apps.operator_pages.columns import column
from apps.operator_pages.decisions import DecidingAdmin, Decision, ReasonForm
from apps.operator_pages.read_only import ReadOnlyInline
from apps.rounds import services
from apps.rounds.admin.policy_fields import policy_rows
from apps.rounds.admin.update_columns import UpdateColumns
from apps.rounds.models import Participation, Round, Update
from apps.rounds.services.freezing import ABANDONABLE
from boltz_core.rounds.states import RoundState, UpdateState

IN_THE_ROUND = [UpdateState.STAGED, UpdateState.AGGREGATED]
MEANINGS = {
    RoundState.SCHEDULED: "It opens by itself at its time.",
    RoundState.OPEN: "Clients join and send updates.",
    RoundState.SEALED: "No more uploads; what was received is being decided.",
    RoundState.FROZEN: "The membership is fixed; a run will take it.",
    RoundState.AGGREGATING: "A run is combining the updates.",
    RoundState.PUBLISHED: "Its version is out.",
    RoundState.ABANDONED: "It ended without a version.",
    RoundState.FAILED: "Our own failures used up its attempts. Run it again or abandon it; the next round waits.",
}
SEAL = Decision(
    name="seal",
    label="Seal now",
    consequence=(
        "No more uploads. When everything received is decided, the round is aggregated if its quorum is "
        "met, else abandoned."
    ),
    done="sealed",
    carry_out=services.seal_round,
    applies=lambda round_: round_.state == RoundState.OPEN,
)
ABANDON = Decision(
    name="abandon",
    label="Abandon",
    consequence=(
        "The round ends without a version and its updates expire. This cannot be undone; clients can take "
        "part in the next round."
    ),
    done="abandoned",
    carry_out=services.abandon_round,
    applies=lambda round_: RoundState(round_.state) in ABANDONABLE,
    form=ReasonForm,
    danger=True,
)


class MemberInline(UpdateColumns, ReadOnlyInline):
    """A round's updates, those with the largest share first."""

    model = Update
    fields = (
        "update_link",
        "client_link",
        "state_word",
        "code_word",
        "examples",
        "norm_short",
        "share_word",
        "received",
    )
    verbose_name_plural = "updates"
    ordering = ("state", "-share", "pk")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Update]:
        """With their clients."""
        return super().get_queryset(request).select_related("client")


def count_by_round(rows: QuerySet[Any]) -> Coalesce:
    """How many of these rows belong to a round."""
    counted = rows.filter(round=OuterRef("pk")).order_by().values("round").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted), 0)


def deadline_of(round_: Round) -> Any:
    """How long until it opens or closes; when it has, when."""
    if round_.state == RoundState.SCHEDULED:
        return f"opens {display.distance(round_.opens_at)}"
    if round_.state == RoundState.OPEN:
        word = "closes" if round_.closes_at > timezone.now() else "was due"
        return f"{word} {display.distance(round_.closes_at)}"
    return display.moment(round_.sealed_at or round_.ended_at or round_.closes_at)


class RoundAdmin(DecidingAdmin):
    """Rounds, newest first."""

    actor_of = staticmethod(audit.actor_of)
    decisions: tuple[Decision, ...] = (SEAL, ABANDON)
    nothing_yet = "A round is opened on the page of its model, or by the schedule of the model."
    list_display = (
        "label_link",
        "state_word",
        "base_link",
        "deadline",
        "n_joined",
        "n_accepted",
        "n_staged",
        "n_rejected",
        "version_link",
    )
    list_display_links = ("label_link",)
    list_filter = ("state", "model")
    list_select_related = ("model", "base__model", "version__model")
    search_fields = ("model__name", "number__exact")
    search_help_text = "Model, or the round's number"
    ordering = ("-opens_at", "-number")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("model_link", "state_word"),
                    ("meaning", "reason_text"),
                    ("deadline_exactly", "base_link"),
                    ("version_link", "log_link"),
                )
            },
        ),
        ("Participation", {"fields": ("counts", "refusals", "updates_link")}),
        ("Times", {"fields": ("times",), "classes": ("op-whole",)}),
        (
            "Policy, copied from the model when the round was scheduled",
            {"fields": ("policy_table",), "classes": ("collapse", "op-whole")},
        ),
        (
            "Descriptor, which clients verify and agree to",
            {"fields": ("descriptor_json",), "classes": ("collapse", "op-whole")},
        ),
    )
    inlines: tuple[type[ReadOnlyInline], ...] = (MemberInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Round]:
        """With its counts."""
        return (
            super()
            .get_queryset(request)
            .annotate(
                joined=count_by_round(Participation.objects.all()),
                accepted=count_by_round(Update.objects.all()),
                staged=count_by_round(Update.objects.filter(state__in=IN_THE_ROUND)),
                rejected=count_by_round(Update.objects.filter(state=UpdateState.REJECTED)),
            )
        )

    label_link = column("round", str, ordering="number")
    model_link = column("model", lambda round_: display.link_to(round_.model))
    state_word = column("state", lambda round_: display.badge(round_.state, title=round_.reason), ordering="state")
    meaning = column("that means", lambda round_: MEANINGS[RoundState(round_.state)])
    reason_text = column("reason", lambda round_: round_.reason or display.NOTHING)
    deadline = column("deadline", deadline_of, ordering="closes_at")

    @admin.display(description="deadline")
    def deadline_exactly(self, round_: Round) -> Any:
        """To the second; how far off it is, while that matters."""
        if RoundState(round_.state) in {RoundState.SCHEDULED, RoundState.OPEN}:
            return display.exact_moment(round_.closes_at)
        return f"{round_.closes_at:%Y-%m-%d %H:%M:%S} UTC"

    base_link = column(
        "base",
        lambda round_: display.link_to(round_.base, f"v{round_.base.number}" if round_.base else None),
        ordering="base__number",
    )

    @admin.display(description="version")
    def version_link(self, round_: Round) -> Any:
        """The version that it made."""
        version = getattr(round_, "version", None)
        return display.link_to(version, f"v{version.number}" if version else None)

    n_joined = column("joined", lambda round_: int(round_.joined), ordering="joined")
    n_accepted = column(
        "accepted", lambda round_: f"{round_.accepted} of {round_.round_policy().target}", ordering="accepted"
    )
    n_staged = column(
        "staged", lambda round_: f"{round_.staged} (quorum {round_.round_policy().quorum})", ordering="staged"
    )
    n_rejected = column("rejected", lambda round_: int(round_.rejected), ordering="rejected")

    @admin.display(description="participation")
    def counts(self, round_: Any) -> Any:
        """From joining to staging."""
        policy = round_.round_policy()
        headers = ("joined", "accepted", "target", "staged", "quorum", "rejected")
        row = (round_.joined, round_.accepted, policy.target, round_.staged, policy.quorum, round_.rejected)
        return display.table(headers, [row], empty="")

    @admin.display(description="refused, by code")
    def refusals(self, round_: Round) -> Any:
        """What was rejected, and why."""
        rejected = Update.objects.filter(round=round_, state=UpdateState.REJECTED).order_by()
        rows = rejected.values_list("code").annotate(n=Count("pk")).order_by("-n", "code")
        shown = [(display.code(code), n) for code, n in rows]
        return display.table(("code", "updates"), shown, empty="Nothing was refused.")

    updates_link = column(
        "all updates", lambda round_: display.list_link("rounds_update", "updates of this round", round=round_.label)
    )
    log_link = column(
        "log", lambda round_: display.list_link("audit_logentry", "entries of this round", q=round_.label)
    )

    @admin.display(description="times")
    def times(self, round_: Round) -> Any:
        """When it came how far."""
        steps = ("opens_at", "sealed_at", "frozen_at", "ended_at", "shredded_at")
        words = ("opens", "sealed", "frozen", "ended", "staged updates destroyed")
        passed = [
            (word, getattr(round_, step)) for word, step in zip(words, steps, strict=True) if getattr(round_, step)
        ]
        return display.table(("step", "at"), [(word, display.exact_moment(at)) for word, at in passed], empty="")

    policy_table = column(
        "policy",
        lambda round_: display.table(("rule", "value", "what follows"), policy_rows(round_.round_policy()), empty=""),
    )

    @admin.display(description="descriptor")
    def descriptor_json(self, round_: Round) -> Any:
        """Decoded, with the key that signed it."""
        document = round_.signed_descriptor()
        if document is None:
            return "It is signed when the round opens."
        return display.json_block({"signed by": document.kid, **msgspec.to_builtins(round_.read_descriptor())})
