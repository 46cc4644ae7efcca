"""The first page of the admin: what waits for an operator, how far each round is, what was refused, who is alive.

Each section is shown to those who may see the rows that it counts. A mesh that has just started shows what to do first.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Min, Q
from django.http import HttpRequest
from django.templatetags.static import static
from django.utils import timezone

from apps.aggregation.selectors import liveness
from apps.aggregation.selectors.liveness import Life
from apps.audit.admin import pseudonym
from apps.audit.models import LogEntry
from apps.clients.models import Client
from apps.operator_pages import display
from apps.rounds.admin.rounds import deadline_of
from apps.rounds.models import IN_WORK_STATES, LIVE_ROUND_STATES, FederatedModel, ModelVersion, Round, Update
from apps.rounds.selectors import views_of
from boltz_core.rounds.states import ClientState, RoundState, UpdateState, VersionState
from boltz_protocol.messages import RoundView

RECENT_ROUNDS, RECENT_ENTRIES = 20, 10
LONG_WAIT_SECONDS = 120


@dataclass(frozen=True)
class Figure:
    """One number, what it counts, and what else there is to say."""

    number: Any
    label: str
    remark: str = ""


@dataclass(frozen=True)
class Attention:
    """Something that an operator should look at."""

    text: str
    link: Any
    urgent: bool = False


def environment_label(_request: HttpRequest) -> list[str]:
    """Shown at the top of each page, so that nobody mistakes one mesh for another."""
    return ["Development", "warning"] if settings.BOLTZ_DEV_MODE else ["Production", "info"]


def stylesheet(_request: HttpRequest) -> str:
    """The stylesheet of the mesh's own pages."""
    return static("operator_pages/operator_pages.css")


def favicon(_request: HttpRequest) -> str:
    """The mark in the browser's tab."""
    return static("operator_pages/favicon.svg")


def dashboard_context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the sections that this user may see."""
    may = request.user.has_perm
    context["title"] = "Dashboard"
    lives = liveness.lives()
    context["lives"] = [(display.badge(life.state), life.kind, seen(life), life.meaning) for life in lives]
    if may("rounds.view_round"):
        context |= training()
    if may("audit.view_logentry"):
        context |= {"entries": recent_entries(), "entry_headers": ("when", "what", "who", "about whom", "round")}
    context["attention"] = attention(may, lives)
    context["clients"] = Client.objects.exists()
    context["figures"] = figures() if may("rounds.view_round") and may("clients.view_client") else []
    return context


def figures() -> list[Figure]:
    """The mesh in five numbers."""
    clients = dict(Client.objects.order_by().values_list("state").annotate(n=Count("pk")))
    rounds = dict(Round.objects.order_by().values_list("state").annotate(n=Count("pk")))
    oldest = Update.objects.filter(state__in=IN_WORK_STATES).aggregate(at=Min("received_at"), n=Count("pk"))
    waiting = f"the oldest came {display.distance(oldest['at'])}" if oldest["at"] else "nothing waits"
    return [
        Figure(FederatedModel.objects.count(), "models", f"{ModelVersion.objects.count()} versions"),
        Figure(
            rounds.get(RoundState.OPEN, 0), "open rounds", f"{rounds.get(RoundState.PUBLISHED, 0)} published so far"
        ),
        Figure(
            clients.get(ClientState.ACTIVE, 0),
            "active clients",
            f"{clients.get(ClientState.PENDING, 0)} wait for approval",
        ),
        Figure(oldest["n"], "updates in work", waiting),
    ]


def training() -> dict[str, Any]:
    """Models with their rounds, updates by state, refusals by code."""
    states = Update.objects.order_by().values("state").annotate(n=Count("pk")).order_by("-n")
    recent = Round.objects.order_by("-opens_at", "-pk").values("pk")[:RECENT_ROUNDS]
    refused = Update.objects.filter(round__in=recent, state=UpdateState.REJECTED).order_by().values("code")
    return {
        "models": models(),
        "states": [
            (display.badge(row["state"]), display.list_link("rounds_update", str(row["n"]), state__exact=row["state"]))
            for row in states
        ],
        "refusals": [
            (display.code(row["code"]), display.list_link("rounds_update", str(row["n"]), code=row["code"]))
            for row in refused.annotate(n=Count("pk")).order_by("-n", "code")
        ],
        "n_recent": RECENT_ROUNDS,
    }


def models() -> list[dict[str, Any]]:
    """Each model, its current version, its round that has not ended or else its last one."""
    versions = {version.model_id: version for version in ModelVersion.objects.filter(state=VersionState.CURRENT)}
    latest = Round.objects.select_related("model", "base").order_by("model_id", "-number").distinct("model_id")
    rounds = {round_.model_id: round_ for round_ in latest}
    views = views_of(rounds.values())
    return [
        {
            "model": display.link_to(model),
            "version": version_link(versions.get(model.pk)),
            **round_cells(round_, views[round_.pk] if round_ else None),
        }
        for model in FederatedModel.objects.order_by("name")
        for round_ in [rounds.get(model.pk)]
    ]


def version_link(version: ModelVersion | None) -> Any:
    """A version by its number."""
    return display.link_to(version, f"v{version.number}") if version else display.NOTHING


def round_cells(round_: Round | None, view: RoundView | None) -> dict[str, Any]:
    """How far a round is."""
    if round_ is None or view is None:
        return {
            "round": "none yet",
            "deadline": display.NOTHING,
            "joined": 0,
            "accepted": 0,
            "staged": 0,
            "rejected": 0,
        }
    policy = round_.round_policy()
    return {
        "round": display.link_with_badge(round_, f"round {round_.number}", round_.state),
        "deadline": deadline_of(round_),
        "joined": view.joined,
        "accepted": f"{view.accepted} of {policy.target}",
        "staged": f"{view.staged} (quorum {policy.quorum})",
        "rejected": sum(view.rejected.values()),
    }


def recent_entries() -> list[tuple[Any, ...]]:
    """The newest entries of the log."""
    entries = LogEntry.objects.defer("leaf").order_by("-created_at", "id")[:RECENT_ENTRIES]
    return [
        (
            display.distance(entry.created_at),
            display.link_to(entry, entry.type),
            pseudonym(entry.actor),
            pseudonym(entry.subject),
            entry.round or display.NOTHING,
        )
        for entry in entries
    ]


def seen(life: Life) -> str:
    """When a kind of process was last seen."""
    return display.distance(life.at) if life.at else "not seen yet"


def attention(may: Any, lives: list[Life]) -> list[Attention]:
    """What somebody has to look at, the urgent first."""
    link = display.list_link("aggregation_heartbeat", "heartbeats")
    found = [
        Attention(f"the {life.kind} was last seen {seen(life)}", link, urgent=True)
        for life in lives
        if life.state == "old"
    ]
    if may("rounds.view_round"):
        found += rounds_and_updates_to_look_at()
    if settings.BOLTZ_ENROLMENT == "open":
        found.append(
            Attention("everyone on this machine may enrol: BOLTZ_DEV_MODE is on, this is not a deployment", "")
        )
    if may("clients.view_client") and (n := Client.objects.filter(state=ClientState.PENDING).count()):
        link = display.list_link("clients_client", "decide", state__exact=ClientState.PENDING.value)
        found.append(Attention(f"{n} client{'s' if n > 1 else ''} wait{'' if n > 1 else 's'} for approval", link))
    return sorted(found, key=lambda item: not item.urgent)


def rounds_and_updates_to_look_at() -> list[Attention]:
    """Failed rounds, stalled updates, updates that have waited too long."""
    found = [
        Attention(
            f"round {round_.number} of {round_.model} has failed: {round_.reason}",
            display.link_to(round_, "run it again or abandon it"),
            urgent=True,
        )
        for round_ in Round.objects.filter(state=RoundState.FAILED).select_related("model")
    ]
    late = timezone.now() - timedelta(seconds=LONG_WAIT_SECONDS)
    counted = Update.objects.aggregate(
        stalled=Count("pk", filter=Q(state=UpdateState.STALLED, round__state__in=LIVE_ROUND_STATES)),
        late=Count("pk", filter=Q(state__in=IN_WORK_STATES, received_at__lt=late)),
    )
    if counted["stalled"]:
        link = display.list_link("rounds_update", "which", state__exact=UpdateState.STALLED.value)
        found.append(Attention(f"updates stalled by faults of ours: {counted['stalled']}", link))
    if counted["late"]:
        link = display.list_link("rounds_update", "which", state__exact=UpdateState.RECEIVED.value)
        found.append(Attention(f"updates undecided for more than two minutes: {counted['late']}", link, urgent=True))
    return found
