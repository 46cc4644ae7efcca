"""Leases on updates.

A worker claims a row with a token, renews it while it works, and finishes only while the token is its own.

Time is the database's clock, so that two machines with two clocks agree. A lease that ran out is taken over and
counts as lost; our own failures give the row back with a growing pause and are counted apart. Either count exhausted:
STALLED, and nothing is held against the client.
"""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.audit import services as audit
from apps.rounds.models import Update
from boltz_core.rounds.states import UpdateState
from boltz_protocol.errors import ServerFaultError

LONGEST_PAUSE = timedelta(minutes=15)


class LeaseLostError(ServerFaultError):
    """Someone else has taken the work over; throw away what was done."""

    default_code = "lease_lost"


@dataclass(frozen=True)
class Lease:
    """The right to work on one update. `attempt` names this attempt's files."""

    update_id: str
    token: uuid.UUID
    attempt: int


def claim(update_id: str) -> Lease | None:
    """Take an update that is RECEIVED, or whose lease ran out; None when there is nothing to take."""
    token = uuid.uuid4()
    with transaction.atomic():
        update = (
            Update.objects.select_for_update(skip_locked=True)
            .filter(Q(state=UpdateState.RECEIVED) | Q(state=UpdateState.PROCESSING, lease_expires_at__lt=Now()))
            .filter(pk=update_id)
            .first()
        )
        if update is None:
            return None
        lost = update.lost_leases + (update.state == UpdateState.PROCESSING)
        if lost >= settings.BOLTZ_MAX_ATTEMPTS:
            stall(update, f"its worker was lost {lost} times")
            return None
        attempt = lost + update.failures + 1
        Update.objects.filter(pk=update_id).update(
            state=UpdateState.PROCESSING,
            lost_leases=lost,
            lease_token=token,
            lease_expires_at=expiry(),
            # from here on messages are counted anew: for this attempt, should it be lost
            next_kick_at=expiry(),
            kicks=0,
        )
    return Lease(update_id, token, attempt)


def expiry() -> Any:
    """When a lease taken or renewed now runs out, by the database's clock."""
    return Now() + timedelta(seconds=settings.BOLTZ_LEASE_SECONDS)


def mine(lease: Lease) -> Any:
    """The leased row, while the lease is still this one."""
    return Update.objects.filter(pk=lease.update_id, state=UpdateState.PROCESSING, lease_token=lease.token)


def renew(lease: Lease) -> None:
    """Extend a lease.

    Raises:
        LeaseLostError: it was taken over.
    """
    if mine(lease).update(lease_expires_at=expiry()) != 1:
        raise LeaseLostError(f"the lease on update {lease.update_id} was taken over")


def finish(lease: Lease, state: UpdateState, **fields: Any) -> None:
    """End the work: one conditional write.

    Raises:
        LeaseLostError: it was taken over; nothing was written.
    """
    changed = mine(lease).update(state=state, lease_token=None, lease_expires_at=None, decided_at=Now(), **fields)
    if changed != 1:
        raise LeaseLostError(f"the lease on update {lease.update_id} was taken over")


def give_back(lease: Lease, reason: str) -> None:
    """Return the work after a failure of ours; it is tried again later, a bounded number of times."""
    with transaction.atomic():
        update = mine(lease).select_for_update().first()
        if update is None:
            return
        if update.failures + 1 >= settings.BOLTZ_MAX_ATTEMPTS:
            stall(update, reason)
            return
        pause = min(timedelta(seconds=settings.BOLTZ_RETRY_SECONDS) * 2**update.failures, LONGEST_PAUSE)
        mine(lease).update(
            state=UpdateState.RECEIVED,
            lease_token=None,
            lease_expires_at=None,
            failures=F("failures") + 1,
            next_kick_at=Now() + pause,
        )


def stall(update: Update, reason: str) -> None:
    """Give up on an update for a fault of our own, in the caller's transaction."""
    audit.append(
        "update.stalled",
        actor="system",
        subject=update.client.pseudonym,
        round=update.round.label,
        detail={"upload_id": update.pk, "reason": reason},
    )
    Update.objects.filter(pk=update.pk).update(
        state=UpdateState.STALLED, code="server_fault", reason=reason[:300], lease_token=None, decided_at=Now()
    )
