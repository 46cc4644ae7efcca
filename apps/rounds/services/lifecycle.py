"""A round from its opening to its freeze.

`advance_round` looks at the row and takes every step that is due; it may be called at any time, by anyone, any number
of times. Each step is a conditional write: rows updated was not 1 means that someone else has taken it.
"""

from datetime import datetime
from typing import NoReturn

from django.db import connection, transaction
from django.utils import timezone

from apps import dispatch
from apps.audit import services as audit
from apps.rounds import selectors
from apps.rounds.models import Round
from apps.rounds.services.freezing import freeze
from apps.rounds.services.opening import start_if_due
from apps.rounds.services.transitions import SYSTEM, move_round
from boltz_core.rounds.states import RoundState
from boltz_protocol.errors import NotNowError


def advance_round(round_id: int) -> None:
    """Take every step that is due for a round: open, seal, freeze (or abandon), and ask for its aggregation.

    What is due is decided by the database's clock: a process whose own is wrong would seal before the deadline.
    """
    round_, now = selectors.round_and_time(round_id)
    start_if_due(round_, now=now)
    if round_.state == RoundState.OPEN and is_over(round_, now=now):
        seal_round(round_, actor=SYSTEM)
    if round_.state == RoundState.SEALED:
        freeze(round_)


def hold_open(round_: Round) -> None:
    """Keep a round open until the caller's transaction ends: sealing waits for this lock, so nothing comes after it.

    Raises:
        NotNowError: `round_not_open` before its time, `round_sealed` after it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM rounds_round WHERE id = %s AND state = %s AND closes_at > now() FOR SHARE",
            [round_.pk, RoundState.OPEN],
        )
        if cursor.fetchone() is None:
            refuse_closed(round_)


def refuse_closed(round_: Round) -> NoReturn:
    """Say whether a round is not open yet, or no more."""
    if round_.state == RoundState.SCHEDULED:
        raise NotNowError(f"{round_} opens at {round_.opens_at.isoformat()}", code="round_not_open")
    raise NotNowError(f"{round_} takes no more updates", code="round_sealed")


def is_over(round_: Round, *, now: datetime) -> bool:
    """Whether the deadline has passed or the target is reached.

    Accepted envelopes count, not staged ones: whether one update is valid must not decide who else is in.
    """
    return round_.closes_at <= now or round_.updates.count() >= round_.round_policy().target


def seal_round(round_: Round, *, actor: str) -> None:
    """OPEN -> SEALED: no more uploads.

    Raises:
        NotNowError: `round_not_open` when an operator asks and it is not open.
    """
    with transaction.atomic():
        if move_round(round_, RoundState.OPEN, RoundState.SEALED, sealed_at=timezone.now()):
            audit.append("round.sealed", actor=actor, round=round_.label, detail={"accepted": round_.updates.count()})
        elif actor != SYSTEM:
            raise NotNowError(f"{round_} is {round_.state}, not open", code="round_not_open")
        else:
            round_.refresh_from_db()
    dispatch.send_on_commit(dispatch.ADVANCE_ROUND, round_.pk)
