"""Leases on updates.

A worker claims a row with a token, renews it while it works, and finishes only while the token is its own.

Time is the database's clock, so that two machines with two clocks agree. A lease that ran out is taken over and
counts as lost; our own failures give the row back with a growing pause and are counted apart. Either count exhausted:
STALLED, and nothing is held against the client. An operator can have it tried again before the round freezes.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from apps import dispatch
from apps.audit import services as audit
from apps.joined_rows import Joined
from apps.rounds.models import Round, Update
from apps.rounds.services.transitions import SYSTEM, move_updates
from boltz_core.rounds.states import RoundState, UpdateState, WrongStateError
from boltz_protocol.errors import NotNowError, ServerFaultError

RENEWALS_IN_A_LEASE = 3
LONGEST_PAUSE = timedelta(minutes=15)
UPDATES = Joined(own=Update)
# a doubled message does not shorten the pause after a failure
CLAIMABLE = f"""
    SELECT {UPDATES.columns} FROM rounds_update AS own WHERE own.id = %s AND (
        own.state = 'received' AND (own.not_before IS NULL OR own.not_before <= statement_timestamp())
        OR own.state = 'processing' AND own.lease_expires_at < statement_timestamp()
    ) FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - nothing in it comes from outside


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
        found = UPDATES.first(CLAIMABLE, [update_id])
        if found is None:
            return None
        update: Update = found[0]
        lost_leases = update.lost_leases + (update.state == UpdateState.PROCESSING)
        if lost_leases >= settings.BOLTZ_MAX_ATTEMPTS:
            stall(update, f"its worker was lost {lost_leases} times")
            return None
        attempt = update.attempts + 1
        Update.objects.filter(pk=update_id).update(
            state=UpdateState.PROCESSING,
            attempts=attempt,
            lost_leases=lost_leases,
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


class Keeper:
    """Calls `renew` three times in the length of a lease, however long the work is that asks it to."""

    def __init__(self, renew: Callable[[], None]) -> None:
        self._renew = renew
        self._pause = settings.BOLTZ_LEASE_SECONDS / RENEWALS_IN_A_LEASE
        self._renewed = time.monotonic()

    def keep(self) -> None:
        """Renew the lease when a third of it has passed; raises what `renew` raises."""
        if time.monotonic() - self._renewed >= self._pause:
            self._renew()
            self._renewed = time.monotonic()


def finish(lease: Lease, state: UpdateState, **fields: Any) -> None:
    """End the work: one conditional write.

    Raises:
        LeaseLostError: it was taken over; nothing was written.
    """
    ended = {"lease_token": None, "lease_expires_at": None, "decided_at": Now()}
    if move_updates(mine(lease), [UpdateState.PROCESSING], state, **ended, **fields) != 1:
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
        move_updates(
            mine(lease),
            [UpdateState.PROCESSING],
            UpdateState.RECEIVED,
            lease_token=None,
            lease_expires_at=None,
            failures=F("failures") + 1,
            not_before=Now() + pause,
            next_kick_at=Now() + pause,
        )


def stall(update: Update, reason: str) -> None:
    """Give up on an update for a fault of our own, in the caller's transaction."""
    audit.append(
        "update.stalled",
        actor=SYSTEM,
        subject=update.client.pseudonym,
        round=update.round.label,
        detail={"upload_id": update.pk, "reason": reason},
    )
    move_updates(
        Update.objects.filter(pk=update.pk),
        [UpdateState.PROCESSING],
        UpdateState.STALLED,
        code="server_fault",
        reason=reason[:300],
        lease_token=None,
        lease_expires_at=None,
        decided_at=Now(),
    )


def try_again(update: Update, *, actor: str) -> None:
    """STALLED -> RECEIVED, by hand: what made it fail has been mended. It gets its full number of attempts again.

    Raises:
        NotNowError: `wrong_state`: it is not stalled; `round_sealed`: its round has been frozen or has ended.
    """
    with transaction.atomic():
        # the freeze locks the same row
        round_ = Round.objects.select_for_update(of=("self",)).select_related("model").get(pk=update.round_id)
        if round_.state not in {RoundState.OPEN, RoundState.SEALED}:
            raise NotNowError(f"{round_} is {round_.state}: its membership is fixed", code="round_sealed")
        fresh = {"code": "", "reason": "", "decided_at": None, "lost_leases": 0, "failures": 0, "kicks": 0}
        again = move_updates(
            Update.objects.filter(pk=update.pk),
            [UpdateState.STALLED],
            UpdateState.RECEIVED,
            not_before=None,
            next_kick_at=Now() + timedelta(seconds=dispatch.retry_seconds()),
            **fresh,
        )
        if not again:
            raise WrongStateError(f"{update} is not stalled; there is nothing to try again")
        audit.append(
            "update.tried_again",
            actor=actor,
            subject=update.client.pseudonym,
            round=round_.label,
            detail={"upload_id": update.pk},
        )
        dispatch.send_on_commit(dispatch.PROCESS_UPDATE, update.pk)
