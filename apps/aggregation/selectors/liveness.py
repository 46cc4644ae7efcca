"""Which processes are alive: when each kind was last seen, and after how long a silence it is missed.

Worker and reconciler write heartbeats. Beat leaves its trace in the schedule: it notes when it last rang the tick.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from apps.aggregation.models import Heartbeat

TICK = "aggregation.tick"
SLACK = timedelta(seconds=30)
MEANINGS = {
    "worker": "Decides updates and aggregates rounds. Without it they wait, as long as Redis takes messages for it.",
    "reconciler": "Finds work that was left behind. Without it a lost message waits for the next tick.",
    "beat": "Rings the tick. Without it rounds open and close when the reconciler looks.",
}


@dataclass(frozen=True)
class Life:
    """One kind of process: `alive`, `old` or `never` seen."""

    kind: str
    state: str
    at: datetime | None
    meaning: str


def longest_silence(kind: str) -> timedelta:
    """After how long a kind of process is missed."""
    tick = timedelta(seconds=settings.BOLTZ_TICK_SECONDS)
    if kind == "reconciler":
        return timedelta(seconds=10 * settings.BOLTZ_RECONCILE_SECONDS) + SLACK
    return 3 * tick + SLACK


def state_of(kind: str, at: datetime | None) -> str:
    """Whether it has been silent for too long."""
    if at is None:
        return "never"
    return "alive" if timezone.now() - at <= longest_silence(kind) else "old"


def lives() -> list[Life]:
    """Every kind of process that a mesh needs."""
    seen: dict[str, datetime | None] = dict(Heartbeat.objects.values_list("kind", "at"))
    seen["beat"] = PeriodicTask.objects.filter(task=TICK).values_list("last_run_at", flat=True).first()
    return [Life(kind, state_of(kind, seen.get(kind)), seen.get(kind), text) for kind, text in MEANINGS.items()]
