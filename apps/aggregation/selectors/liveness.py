"""Which processes are alive: when each kind was last seen, and after how long a silence it is missed.

Each writes its heartbeat itself; what one of a worker proves stands in `worker/heartbeats.py`. A kind counts as alive
while one process of it is: of two ingest workers either may die unseen.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from apps.aggregation.models import Heartbeat

SLACK = timedelta(seconds=30)
# beat and each worker write every few seconds
SILENCE = timedelta(seconds=60)
TICK = "tick"
MEANINGS = {
    "ingest-worker": "Decides updates. Without it they wait, as long as Redis takes messages for it.",
    "aggregate-worker": "Makes versions of rounds. Without it rounds wait, as long as Redis takes messages for it.",
    "control-worker": "Takes ticks, seals and freezes rounds. Without it the reconciler does.",
    "beat": "Rings the tick. Without it rounds open and close when the reconciler looks.",
    "reconciler": "Finds work that was left behind. Without it a lost message waits for the next tick.",
    "limits": "Web reaches Redis, where requests are counted. Without it known clients are not limited.",
    TICK: "Was rung by beat, carried by Redis and begun by a worker. Silent when one of the three does not work.",
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
    if kind == TICK:
        return 3 * timedelta(seconds=settings.BOLTZ_TICK_SECONDS) + SLACK
    if kind == "reconciler":
        return timedelta(seconds=10 * settings.BOLTZ_RECONCILE_SECONDS) + SLACK
    return SILENCE


def state_of(kind: str, at: datetime | None) -> str:
    """Whether it has been silent for too long."""
    if at is None:
        return "never"
    return "alive" if timezone.now() - at <= longest_silence(kind) else "old"


def lives() -> list[Life]:
    """Every kind of process that a mesh needs, and the tick, for which three of them must work together."""
    seen: dict[str, datetime] = dict(Heartbeat.objects.values_list("kind", "at"))
    return [Life(kind, state_of(kind, seen.get(kind)), seen.get(kind), text) for kind, text in MEANINGS.items()]
