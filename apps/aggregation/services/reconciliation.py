"""The tick and the reconciler: whatever a lost message, a killed process or a dead Redis has left behind is found here.

Every step is safe to repeat and to run in several processes at once. Work is handed to the workers while the broker
takes messages, and done here when it does not. Messages for the same work are sent with growing pauses, so that a
backlog is not flooded.
"""

from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now

from apps import dispatch
from apps.aggregation.models import Heartbeat, Run
from apps.aggregation.services import runs, shard_files
from apps.attempts import attempt
from apps.audit import services as audit
from apps.clients import services as clients
from apps.rounds import selectors as rounds_selectors
from apps.rounds import services as rounds
from apps.rounds import versions
from apps.rounds.models import Round, Update, Verdict
from apps.rounds.services import key_rotation

LARGEST_DOUBLING = 6


def tick(kind: str) -> None:
    """What is rung every `BOLTZ_TICK_SECONDS`: reconcile, and the work that has no hurry."""
    reconcile(kind)
    for step in (
        key_rotation.rotate_when_due,
        key_rotation.renew_descriptors,
        key_rotation.destroy_retired_keys,
        clients.delete_old_nonces,
        audit.finish_forgetting,
        rounds.erase_leftovers,
        rounds.shred_old_rounds,
        rounds.sweep_inbox,
        rounds.sweep_scratch,
        shard_files.sweep,
        versions.sweep_unpublished,
    ):
        attempt(step)


def reconcile(kind: str) -> None:
    """One look at everything that may be waiting."""
    beat_heart(kind)
    for step in (kick_updates, advance_rounds, kick_rounds, continue_runs, kick_verdicts, rounds.open_rounds_due):
        attempt(step)


def beat_heart(kind: str) -> None:
    """Note that a process of this kind is alive."""
    Heartbeat.objects.bulk_create(
        [Heartbeat(kind=kind, at=Now())], update_conflicts=True, unique_fields=["kind"], update_fields=["at"]
    )


def pause_after(kicks: int) -> timedelta:
    """How long after the n-th message the next one is sent."""
    return timedelta(seconds=settings.BOLTZ_RETRY_SECONDS * 2 ** min(kicks, LARGEST_DOUBLING))


def kick_updates() -> None:
    """Send again for updates that have waited too long or whose worker was lost."""
    for update in rounds_selectors.updates_waiting():
        waited = Update.objects.filter(pk=update.pk, kicks=update.kicks)
        if waited.update(kicks=F("kicks") + 1, next_kick_at=Now() + pause_after(update.kicks)):
            attempt(dispatch.kick, dispatch.PROCESS_UPDATE, rounds.process_update, update.pk)


def advance_rounds() -> None:
    """Open, seal and freeze what is due."""
    for round_id in rounds_selectors.rounds_live().values_list("pk", flat=True):
        attempt(rounds.advance_round, round_id)


def kick_rounds() -> None:
    """Ask again for aggregations whose message was lost or whose run has died."""
    for round_ in due(rounds_selectors.rounds_to_aggregate()):
        attempt(dispatch.kick, dispatch.AGGREGATE_ROUND, runs.aggregate_round, round_.pk)


def due(rounds_: Iterable[Round]) -> Iterable[Round]:
    """Rounds to ask for now: those without a living run whose time for another message has come."""
    for round_ in rounds_:
        if Run.objects.filter(round=round_, state="running", lease_expires_at__gt=Now()).exists():
            continue
        waited = Round.objects.filter(pk=round_.pk, kicks=round_.kicks)
        if waited.update(kicks=F("kicks") + 1, next_kick_at=Now() + pause_after(round_.kicks)):
            yield round_


def continue_runs() -> None:
    """Send what running runs still lack: lost members of a chord, or its body."""
    for run in Run.objects.filter(state="running", next_kick_at__lte=Now(), lease_expires_at__gt=Now()):
        claimed = Run.objects.filter(pk=run.pk, next_kick_at=run.next_kick_at)
        if claimed.update(next_kick_at=Now() + pause_after(0)):
            attempt(runs.continue_run, run)


def kick_verdicts() -> None:
    """Ask again for verdicts whose message was lost or whose worker has died."""
    for verdict in rounds_selectors.verdicts_waiting().filter(next_kick_at__lte=Now()):
        waited = Verdict.objects.filter(pk=verdict.pk, kicks=verdict.kicks)
        if waited.update(kicks=F("kicks") + 1, next_kick_at=Now() + pause_after(verdict.kicks)):
            attempt(dispatch.kick, dispatch.JUDGE_CANDIDATE, rounds.judge_candidate, verdict.version_id)
