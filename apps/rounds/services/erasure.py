"""What the rounds app does when a client is erased: what it sent is destroyed, bytes and keys.

A round whose membership is fixed keeps its members until it has ended: nothing is used in rounds frozen after the
request, and that one was frozen before. Then the tick destroys what is left of them. A published version keeps the
contribution, and the update's row its share.

Bytes are removed after the commit, and again by each tick of the next hour: a process may be killed between commit and
removal, and a worker that is at the update may give its segments their name before it learns of the erasure, and be
killed with that. For as long as an erased update is looked after, the end of its lease says when it was erased.
"""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from apps.attempts import attempt
from apps.clients.models import Client
from apps.rounds import stores
from apps.rounds.models import Round, Update
from apps.rounds.services.transitions import move_updates
from apps.rounds.signals import updates_erasing
from boltz_core.rounds.states import ClientState, RoundState, UpdateState

BEFORE_FREEZE = [RoundState.SCHEDULED, RoundState.OPEN, RoundState.SEALED]
# in a version, or erased already
KEPT_STATES = [UpdateState.AGGREGATED, UpdateState.ERASED]
ERASABLE_STATES = [state for state in UpdateState if state not in KEPT_STATES]
# no worker is at one update for so long: its task is ended by force before
LATE_SECONDS = 3600


def on_client_erasing(*, client: Client, **_: Any) -> None:
    """Erase a client's updates, in the transaction that erases the client."""
    rounds = Round.objects.filter(updates__client=client, state__in=BEFORE_FREEZE)
    # the freeze locks the same rows: a member cannot vanish between its count and its freeze
    locked = list(Round.objects.select_for_update().filter(pk__in=rounds.values("pk")).order_by("pk"))
    not_frozen = [round_.pk for round_ in locked if round_.state in BEFORE_FREEZE]
    may_go = Q(round__in=not_frozen) | Q(round__ended_at__isnull=False)
    erase_updates(Update.objects.filter(may_go, client=client))


def erase_leftovers() -> int:
    """Erase what erased clients had in rounds that were frozen then and have ended since; returns how many updates.

    And remove again what is stored of updates that have been erased lately.
    """
    left = Q(staged_key__isnull=False) | ~Q(state__in=KEPT_STATES)
    with transaction.atomic():
        erased = erase_updates(
            Update.objects.filter(left, client__state=ClientState.ERASED, round__ended_at__isnull=False)
        )
    remove_late_bytes()
    return erased


def erase_updates(updates: QuerySet[Update]) -> int:
    """Destroy what is stored of these updates: scores and keys now, bytes after the commit; returns how many."""
    # locked before anything of them is read: a worker that is just committing its decision is waited for
    doomed = list(with_places(updates).select_for_update(of=("self",)).order_by("pk"))
    rows = Update.objects.filter(pk__in=[update.pk for update in doomed])
    no_lease = {"lease_token": None, "lease_expires_at": Now()}
    rows.update(claims=None, examples=None, norm=None, step_dot=None, staged_key=None, **no_lease)
    move_updates(rows, ERASABLE_STATES, UpdateState.ERASED)
    updates_erasing.send(sender=Update, update_ids=[update.pk for update in doomed])
    transaction.on_commit(lambda: delete_all_bytes(doomed))
    return len(doomed)


def with_places(updates: QuerySet[Update]) -> QuerySet[Update]:
    """Updates with what says where their bytes lie, and no more."""
    return updates.only("body_sha256", "round", "attempts")


def delete_all_bytes(doomed: list[Update]) -> list[str]:
    """Remove what is stored of erased updates, each for itself; returns the ids of those of which nothing is left."""
    return [update.pk for update in doomed if attempt(delete_bytes, update)]


def delete_bytes(update: Update) -> bool:
    """Remove an erased update's envelope, and the segments of every attempt at it: lost ones leave theirs behind."""
    stores.delete_envelope(update.body_sha256)
    for number in range(1, update.attempts + 1):
        stores.staged_path(update.round_id, update.pk, number).unlink(missing_ok=True)
    return True


def remove_late_bytes() -> None:
    """Remove again what is stored of updates that have been erased lately, until nobody can be late with more."""
    erased = Update.objects.filter(client__state=ClientState.ERASED, state__in=KEPT_STATES)
    gone = delete_all_bytes(list(with_places(erased.filter(lease_expires_at__isnull=False))))
    long_ago = Now() - timedelta(seconds=LATE_SECONDS)
    Update.objects.filter(pk__in=gone, lease_expires_at__lt=long_ago).update(lease_expires_at=None)
