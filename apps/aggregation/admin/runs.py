"""Runs in the admin: what was decided, and how far it has been carried out."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from apps.aggregation.models import Run, Shard
from apps.operator_pages import display
from apps.operator_pages.columns import column
from apps.operator_pages.read_only import ReadOnlyAdmin, ReadOnlyInline
from apps.rounds.models import Update
from boltz_core.aggregation.decision import Decision
from boltz_core.aggregation.errors import AggregationError

SHOWN_MEMBERS = 100


class ShardInline(ReadOnlyInline):
    """The parameter ranges that are combined."""

    model = Shard
    fields = ("number", "span", "digest", "finished")
    verbose_name_plural = "shards done"

    span = column("parameters", lambda shard: f"{shard.start:,} to {shard.stop - 1:,}")
    digest = column("SHA-256 of the weights", lambda shard: display.short(shard.sha256))
    finished = column("done (UTC)", lambda shard: display.moment(shard.finished_at))


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """Runs, newest first."""

    nothing_yet = "A run begins when a round has been sealed and everything in it is decided."
    list_display = ("label", "round_link", "state_word", "members", "shards_done", "started", "ended", "reason")
    list_display_links = ("label",)
    list_filter = ("state", "round__model")
    list_select_related = ("round__model",)
    search_fields = ("round__model__name", "round__number__exact")
    search_help_text = "Model, or the round's number"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("label", "state_word"),
                    ("round_link", "shards_done"),
                    ("started_exactly", "ended_exactly"),
                    ("reason_text", "lease"),
                )
            },
        ),
        (
            "Decision",
            {
                "fields": ("rule", "members_table", "gated", "record"),
                "description": "Written once, before anything was combined; a replay reads it.",
            },
        ),
    )
    inlines = (ShardInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """With the number of shards that are done."""
        return super().get_queryset(request).annotate(done=Count("results"))

    label = column("fence", lambda run: f"run {run.fence}", ordering="fence")
    round_link = column("round", lambda run: display.link_to(run.round))
    state_word = column("state", lambda run: display.badge(run.state, title=run.reason), ordering="state")
    reason_text = column("reason", lambda run: run.reason or display.NOTHING)
    shards_done = column("shards done", lambda run: f"{run.done} of {run.shards}", ordering="done")
    started = column("started (UTC)", lambda run: display.moment(run.started_at), ordering="started_at")
    ended = column("ended (UTC)", lambda run: display.moment(run.ended_at), ordering="ended_at")
    started_exactly = column("started", lambda run: display.exact_moment(run.started_at))
    ended_exactly = column("ended", lambda run: display.exact_moment(run.ended_at))

    @admin.display(description="lease")
    def lease(self, run: Run) -> Any:
        """Until when it counts as alive."""
        if run.state != "running":
            return "none: the run has ended"
        return display.exact_moment(run.lease_expires_at)

    @admin.display(description="rule")
    def rule(self, run: Run) -> str:
        """How, under which bounds."""
        if run.decision is None:
            return "not decided yet: how the members lie to each other is being measured"
        record = run.decision
        rule, bound, cap = (record.get(name) for name in ("rule", "bound", "example_cap"))
        said = [rule, f"norms up to {bound}", f"at most {cap} examples count"]
        if "byzantine" in record:
            said[0] = " after ".join([rule, *reversed(record["before"])])
            said.insert(1, f"f = {record['byzantine']}")
        return ", ".join(said)

    @admin.display(description="left out by norm")
    def gated(self, run: Run) -> Any:
        """Who was out before the rule looked at anybody, and why."""
        rows = [
            (display.link_to(Update(pk=out["update_id"]), out["update_id"]), out["reason"] or "erased")
            for out in (run.decision or {}).get("gated", [])
        ]
        return display.table(("update", "why"), rows, empty="Nobody.")

    @admin.display(description="members")
    def members_table(self, run: Run) -> Any:
        """Who is in, with which weight."""
        if run.decision is None:
            return display.NOTHING
        members = run.decision["members"]
        if not has_erased(members) and decision_of(run) is None:
            return "The record contradicts itself: it is shown below as it is, and no replay would accept it."
        total = sum(member["weight"] for member in members)
        shown = members[:SHOWN_MEMBERS]
        rows = [
            (
                display.link_to(Update(pk=member["update_id"]), member["update_id"]),
                "erased" if member["norm"] is None else display.number(float(member["norm"])),
                "erased" if member["examples"] is None else member["examples"],
                member["weight"],
                display.share(member["weight"] / total),
            )
            for member in shown
        ]
        table = display.table(("update", "norm", "examples claimed", "weight", "share"), rows, empty="Nobody.")
        return display.followed_by(
            table, f"and {run.members - len(shown)} more in the record" if run.members > len(shown) else ""
        )

    @admin.display(description="record")
    def record(self, run: Run) -> Any:
        """As it is kept, in the order in which it was written."""
        if run.decision is None:
            return display.NOTHING
        decided = decision_of(run)
        return display.json_block(decided.record() if decided else run.decision)


def has_erased(members: list[dict[str, Any]]) -> bool:
    """Whether a client in it was erased since: what it says of that one is gone."""
    return any(member["norm"] is None for member in members)


def decision_of(run: Run) -> Decision | None:
    """What was decided; None when the record does not follow from itself."""
    try:
        return Decision.from_record(run.decision or {})
    except AggregationError:
        return None
