"""What the rounds app does when a client is erased.

Its updates that are in no frozen round vanish, bytes and keys.
"""

from typing import Any

from django.db import transaction

from apps.clients.models import Client
from apps.rounds import stores
from apps.rounds.models import IN_WORK_STATES, Round, Update
from boltz_core.rounds.states import RoundState, UpdateState

ERASABLE = [*IN_WORK_STATES, UpdateState.STAGED, UpdateState.QUARANTINED]
BEFORE_FREEZE = [RoundState.SCHEDULED, RoundState.OPEN, RoundState.SEALED]


def on_client_erasing(*, client: Client, **_: Any) -> None:
    """Erase a client's updates, in the transaction that erases the client.

    Rounds that are frozen keep their members: nothing is used in rounds frozen after the request, and a frozen one is
    past it.
    """
    rounds = Round.objects.filter(updates__client=client, state__in=BEFORE_FREEZE).order_by("pk")
    # the freeze locks the same rows: a member cannot vanish between its count and its freeze
    locked = list(Round.objects.select_for_update().filter(pk__in=rounds.values("pk")).order_by("pk"))
    open_rounds = [round_.pk for round_ in locked if round_.state in BEFORE_FREEZE]
    updates = Update.objects.filter(client=client, round__in=open_rounds, state__in=ERASABLE)
    doomed = list(updates.values_list("pk", "body_sha256", "round_id", "staged_attempt"))
    updates.update(
        state=UpdateState.ERASED,
        claims=None,
        examples=None,
        norm=None,
        step_dot=None,
        staged_key=None,
        lease_token=None,
    )
    transaction.on_commit(lambda: delete_bytes(doomed))


def delete_bytes(doomed: list[tuple[str, str, int, int | None]]) -> None:
    """Remove envelopes and segments of erased updates; what a crash leaves here, the shredding of the round removes."""
    for update_id, sha256, round_id, attempt in doomed:
        stores.delete_envelope(sha256)
        if attempt is not None:
            stores.staged_path(round_id, update_id, attempt).unlink(missing_ok=True)
