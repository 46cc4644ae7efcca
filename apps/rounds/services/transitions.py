"""Changes of state: conditional writes that the table of states allows. What they return says who was first.

Who changes a state also logs it, in the same transaction.
"""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from apps.audit import services as audit
from apps.rounds.models import Round, Update
from boltz_core.rounds.states import ROUND, UPDATE, RoundState, UpdateState, check_transition

# who acts when nobody asked for it
SYSTEM = "system"


def move_round(round_: Round, expected: RoundState, state: RoundState, **fields: Any) -> bool:
    """Move a round from `expected` to `state`; False when it was no longer in `expected`."""
    check_transition(ROUND, expected, state)
    changed = Round.objects.filter(pk=round_.pk, state=expected).update(state=state, **fields)
    if changed:
        round_.state = state
        for name, value in fields.items():
            setattr(round_, name, value)
    return changed == 1


def move_updates(updates: QuerySet[Update], expected: Iterable[UpdateState], wanted: UpdateState, **fields: Any) -> int:
    """Move those of `updates` that are in one of the `expected` states, and set `fields`; returns how many.

    Raises:
        WrongStateError: the table does not allow it from one of them. That is a mistake in the code, not in the data.
    """
    sources = list(expected)
    for source in sources:
        check_transition(UPDATE, source, wanted)
    return updates.filter(state__in=sources).update(state=wanted, **fields)


def log_decision(update: Update, detail: dict[str, object]) -> None:
    """What we decided on an update, under its client's pseudonym; in the transaction of the change."""
    audit.append(
        "update.decided",
        actor=SYSTEM,
        subject=update.client.pseudonym,
        round=update.round.label,
        detail={"upload_id": update.pk, **detail},
    )
