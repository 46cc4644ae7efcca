"""A round's page with its runs on it, and the decisions that begin one."""

from django.contrib import admin

from apps.aggregation import services
from apps.aggregation.models import Run
from apps.operator_pages import display
from apps.operator_pages.columns import column
from apps.operator_pages.decisions import Decision
from apps.operator_pages.read_only import ReadOnlyInline
from apps.rounds.admin import RoundAdmin
from apps.rounds.models import Round
from boltz_core.rounds.states import RoundState

AGGREGATE = Decision(
    name="aggregate",
    label="Aggregate now",
    consequence="An open round is sealed first; while it has fewer updates than its quorum that is refused, and it "
    "stays open. Then the workers are asked for its version. Should fewer than the quorum turn out to be valid, the "
    "round is abandoned.",
    done="the workers are asked for its version",
    carry_out=services.run_again,
    applies=lambda round_: (
        round_.state in {RoundState.OPEN, RoundState.SEALED, RoundState.FROZEN, RoundState.AGGREGATING}
    ),
)
RUN_AGAIN = Decision(
    name="run-again",
    label="Run again",
    consequence="The round gets a new run, with a new fence, over the same members.",
    done="the workers are asked for a new run",
    carry_out=services.run_again,
    applies=lambda round_: round_.state == RoundState.FAILED,
)


class RunInline(ReadOnlyInline):
    """The attempts to aggregate a round, newest first."""

    model = Run
    fields = ("run_link", "state_word", "members", "shards", "started", "ended", "reason")
    verbose_name_plural = "runs"

    run_link = column("fence", lambda run: display.link_to(run, f"run {run.fence}"))
    state_word = column("state", lambda run: display.badge(run.state))
    started = column("started (UTC)", lambda run: display.moment(run.started_at))
    ended = column("ended (UTC)", lambda run: display.moment(run.ended_at))


@admin.register(Round)
class RoundWithRunsAdmin(RoundAdmin):
    """Rounds, each with its runs."""

    decisions = (RoundAdmin.decisions[0], AGGREGATE, RUN_AGAIN, *RoundAdmin.decisions[1:])
    inlines = (*RoundAdmin.inlines, RunInline)
