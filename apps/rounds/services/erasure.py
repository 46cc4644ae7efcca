"""What the rounds app does when a client is erased: what it sent is destroyed, bytes and keys.

A round whose membership is fixed keeps its members until it has ended: nothing is used in rounds frozen after the
request, and that one was frozen before. Then the tick destroys what is left of them. A published version keeps the
contribution, and the update's row its share.
"""

from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

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


def on_client_erasing(*, client: Client, **_: Any) -> None:
    """Erase a client's updates, in the transaction that erases the client."""
    rounds = Round.objects.filter(updates__client=client, state__in=BEFORE_FREEZE)
    # the freeze locks the same rows: a member cannot vanish between its count and its freeze
    locked = list(Round.objects.select_for_update().filter(pk__in=rounds.values("pk")).order_by("pk"))
    not_frozen = [round_.pk for round_ in locked if round_.state in BEFORE_FREEZE]
    may_go = Q(round__in=not_frozen) | Q(round__ended_at__isnull=False)
    erase_updates(Update.objects.filter(may_go, client=client))


def erase_leftovers() -> int:
    """Erase what erased clients had in rounds that were frozen then and have ended since; returns how many updates."""
    left = Q(staged_key__isnull=False) | ~Q(state__in=KEPT_STATES)
    with transaction.atomic():
        return erase_updates(
            Update.objects.filter(left, client__state=ClientState.ERASED, round__ended_at__isnull=False)
        )


def erase_updates(updates: QuerySet[Update]) -> int:
    """Destroy what is stored of these updates: scores and keys now, bytes after the commit; returns how many."""
    doomed = list(updates.values_list("pk", "body_sha256", "round_id", "staged_attempt"))
    rows = Update.objects.filter(pk__in=[pk for pk, *_ in doomed])
    rows.update(claims=None, examples=None, norm=None, step_dot=None, staged_key=None, lease_token=None)
    move_updates(rows, ERASABLE_STATES, UpdateState.ERASED)
    updates_erasing.send(sender=Update, update_ids=[pk for pk, *_ in doomed])
    transaction.on_commit(lambda: delete_bytes(doomed))
    return len(doomed)


def delete_bytes(doomed: list[tuple[str, str, int, int | None]]) -> None:
    """Remove envelopes and segments of erased updates; what a crash leaves here goes when the round is shredded."""
    for update_id, sha256, round_id, attempt in doomed:
        stores.delete_envelope(sha256)
        if attempt is not None:
            stores.staged_path(round_id, update_id, attempt).unlink(missing_ok=True)
