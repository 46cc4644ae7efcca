"""The sidebar of the admin: an operator's words in an operator's order, with a number where something waits."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from apps.clients.models import Client
from apps.rounds.models import Round
from boltz_core.rounds.states import ClientState, RoundState

Item = dict[str, Any]


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The pages that this user may see; groups with nothing in them are left out."""
    groups = (
        ("", False, [{"title": "Dashboard", "icon": "monitoring", "link": reverse("admin:index")}]),
        ("Training", False, pages(request, TRAINING)),
        ("Participants", False, pages(request, PARTICIPANTS)),
        ("Mesh", False, pages(request, MESH)),
        ("Settings", True, pages(request, SETTINGS)),
    )
    return [
        {"title": title, "items": items, "collapsible": collapsible, "separator": bool(title)}
        for title, collapsible, items in groups
        if items
    ]


TRAINING = (
    ("rounds", "federatedmodel", "Models", "model_training"),
    ("rounds", "modelversion", "Versions", "deployed_code_history"),
    ("rounds", "round", "Rounds", "autorenew"),
    ("rounds", "update", "Updates", "upload_file"),
    ("aggregation", "run", "Runs", "function"),
)
PARTICIPANTS = (
    ("clients", "client", "Clients", "devices"),
    ("clients", "organisation", "Organisations", "domain"),
    ("clients", "enrolmenttoken", "Enrolment tokens", "vpn_key"),
)
MESH = (
    ("audit", "logentry", "Log", "receipt_long"),
    ("keys", "meshkey", "Mesh keys", "key"),
    ("aggregation", "heartbeat", "Heartbeats", "favorite"),
)
SETTINGS = (
    ("auth", "user", "Operators", "person"),
    ("auth", "group", "Groups", "group"),
    ("django_celery_beat", "periodictask", "Periodic tasks", "schedule"),
    ("django_celery_beat", "intervalschedule", "Intervals", "timer"),
)


def pages(request: HttpRequest, wanted: tuple[tuple[str, str, str, str], ...]) -> list[Item]:
    """The lists among `wanted` that this user may see."""
    return [
        page(app, model, title, icon)
        for app, model, title, icon in wanted
        if any(request.user.has_perm(f"{app}.{right}_{model}") for right in ("view", "change"))
    ]


def page(app: str, model: str, title: str, icon: str) -> Item:
    """One entry."""
    waiting = number_waiting(app, model)
    badge = {"badge": waiting, "badge_variant": "warning"} if waiting else {}
    return {"title": title, "icon": icon, "link": reverse(f"admin:{app}_{model}_changelist"), **badge}


def number_waiting(app: str, model: str) -> int:
    """How many rows of a kind wait for an operator: clients to be let in, rounds that have failed."""
    if (app, model) == ("clients", "client"):
        return Client.objects.filter(state=ClientState.PENDING).count()
    if (app, model) == ("rounds", "round"):
        return Round.objects.filter(state=RoundState.FAILED).count()
    return 0
