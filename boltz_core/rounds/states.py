"""The state machines: one table each for an update, a round, a version, its verdict and a client.

A table lists every allowed change of state with the sentence why; what is not listed cannot happen. `apps` write a
change only as `UPDATE ... WHERE id = ? AND state = <from>` with a row count of 1, and ask `check_transition` first. A
state in `final` has no way out. Taking over an expired lease or a stale fence is not a change of state.

docs/states.md is drawn from here: `python -m boltz_core.rounds.states > docs/states.md`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from boltz_protocol.errors import NotNowError


class WrongStateError(NotNowError):
    """The present state does not allow the change."""

    default_code = "wrong_state"


class UpdateState(StrEnum):
    """What has become of an update."""

    RECEIVED = "received"
    PROCESSING = "processing"
    STAGED = "staged"
    AGGREGATED = "aggregated"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"
    STALLED = "stalled"
    EXPIRED = "expired"
    ERASED = "erased"


class RoundState(StrEnum):
    """How far a round has come."""

    SCHEDULED = "scheduled"
    OPEN = "open"
    SEALED = "sealed"
    FROZEN = "frozen"
    AGGREGATING = "aggregating"
    PUBLISHED = "published"
    ABANDONED = "abandoned"
    FAILED = "failed"


class VersionState(StrEnum):
    """Which version of a model clients get."""

    CANDIDATE = "candidate"
    CURRENT = "current"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"


class VerdictState(StrEnum):
    """What the gate has found about a candidate."""

    WAITING = "waiting"
    PASSED = "passed"
    FAILED = "failed"
    HELD_BACK = "held_back"


class ClientState(StrEnum):
    """Whether a client may take part."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    ERASED = "erased"


@dataclass(frozen=True)
class Machine:
    """One state machine. `transitions` maps (from, to) to the sentence why; `final` states have no way out."""

    name: str
    initial: StrEnum
    final: frozenset[StrEnum]
    transitions: Mapping[tuple[StrEnum, StrEnum], str]

    @property
    def states(self) -> tuple[StrEnum, ...]:
        """Every state, in the order of declaration."""
        return tuple(type(self.initial))


_U = UpdateState
UPDATE = Machine(
    name="update",
    initial=_U.RECEIVED,
    final=frozenset({_U.ERASED}),
    transitions={
        (_U.RECEIVED, _U.PROCESSING): "a worker claims it with a lease",
        (_U.PROCESSING, _U.RECEIVED): "the lease ran out or the fault was ours; it waits for another try",
        (_U.PROCESSING, _U.STAGED): "it is valid and sealed again in segments",
        (_U.PROCESSING, _U.REJECTED): "it breaks a rule; the code says which",
        (_U.PROCESSING, _U.QUARANTINED): "it looks wrong; an operator decides",
        (_U.PROCESSING, _U.STALLED): "our own failures used up its attempts; no evidence against the client",
        (_U.STALLED, _U.RECEIVED): "an operator has it tried again",
        (_U.QUARANTINED, _U.STAGED): "an operator lets it in before the freeze",
        (_U.QUARANTINED, _U.REJECTED): "an operator refuses it",
        (_U.STAGED, _U.QUARANTINED): "an operator sets it aside before the freeze",
        (_U.STAGED, _U.AGGREGATED): "the version it is part of is published",
        (_U.STAGED, _U.EXPIRED): "its round ended without it: abandoned, or removed from the membership",
        (_U.RECEIVED, _U.EXPIRED): "its round was abandoned first",
        (_U.PROCESSING, _U.EXPIRED): "its round was abandoned first",
        (_U.QUARANTINED, _U.EXPIRED): "its round froze without it",
        (_U.STALLED, _U.EXPIRED): "its round froze without it",
        **{(state, _U.ERASED): "its client was erased" for state in _U if state is not _U.ERASED},
    },
)

_R = RoundState
ROUND = Machine(
    name="round",
    initial=_R.SCHEDULED,
    final=frozenset({_R.PUBLISHED, _R.ABANDONED}),
    transitions={
        (_R.SCHEDULED, _R.OPEN): "its time has come, or an operator opens it",
        (_R.SCHEDULED, _R.ABANDONED): "an operator calls it off",
        (
            _R.OPEN,
            _R.SEALED,
        ): "the target is reached, the deadline has passed, or an operator seals it; no more uploads",
        (_R.OPEN, _R.ABANDONED): "an operator calls it off",
        (_R.SEALED, _R.FROZEN): "nothing is received or processing any more; the membership is fixed",
        (_R.SEALED, _R.ABANDONED): "too few updates were staged, or an operator calls it off",
        (_R.FROZEN, _R.AGGREGATING): "a run takes the fence",
        (_R.FROZEN, _R.ABANDONED): "removals left too few updates, or an operator calls it off",
        (_R.AGGREGATING, _R.PUBLISHED): "the run that holds the fence publishes the version",
        (_R.AGGREGATING, _R.ABANDONED): "removals left too few updates",
        (_R.AGGREGATING, _R.FAILED): "our own failures used up the attempts",
        (_R.FAILED, _R.AGGREGATING): "an operator runs it again",
        (_R.FAILED, _R.ABANDONED): "an operator gives it up",
    },
)

_V = VersionState
VERSION = Machine(
    name="version",
    initial=_V.CANDIDATE,
    # whatever was taken back can be released again: a roll-back can be a mistake too
    final=frozenset(),
    transitions={
        (_V.CANDIDATE, _V.CURRENT): "its model has no gate, the gate lets it pass, or an operator promotes it",
        (_V.CURRENT, _V.SUPERSEDED): "another version is released in its place",
        (_V.CURRENT, _V.ROLLED_BACK): "an operator goes back to a version before it",
        (_V.SUPERSEDED, _V.ROLLED_BACK): "an operator goes back to a version before it",
        (_V.SUPERSEDED, _V.CURRENT): "an operator goes back to it",
        (_V.ROLLED_BACK, _V.CURRENT): "an operator releases it again",
    },
)

_J = VerdictState
VERDICT = Machine(
    name="verdict",
    initial=_J.WAITING,
    final=frozenset({_J.PASSED}),
    transitions={
        (_J.WAITING, _J.PASSED): "the candidate is on top of the current version and worse by no more than the margin",
        (_J.WAITING, _J.FAILED): "on the hold-out it is worse than the current version by more than the margin",
        (_J.WAITING, _J.HELD_BACK): "it could not be judged, its base is not current, or an operator was faster",
        (_J.FAILED, _J.WAITING): "an operator has it judged again",
        (_J.HELD_BACK, _J.WAITING): "an operator has it judged again",
    },
)

_C = ClientState
CLIENT = Machine(
    name="client",
    initial=_C.PENDING,
    final=frozenset({_C.ERASED}),
    transitions={
        (_C.PENDING, _C.ACTIVE): "an operator approves it, or its enrolment needs no approval",
        (_C.PENDING, _C.REVOKED): "an operator refuses it",
        (_C.ACTIVE, _C.SUSPENDED): "an operator suspends it",
        (_C.SUSPENDED, _C.ACTIVE): "an operator lifts the suspension",
        (_C.ACTIVE, _C.REVOKED): "an operator revokes it for good",
        (_C.SUSPENDED, _C.REVOKED): "an operator revokes it for good",
        **{
            (state, _C.ERASED): "it asked to be erased, or an operator has erased it"
            for state in _C
            if state is not _C.ERASED
        },
    },
)

MACHINES = (UPDATE, ROUND, VERSION, VERDICT, CLIENT)


def check_transition(machine: Machine, present: StrEnum | str, wanted: StrEnum | str) -> None:
    """Refuse a change of state that the table does not list.

    Raises:
        WrongStateError: the change is not in `machine.transitions`.
        ValueError: a word that is no state of `machine`.
    """
    kind = type(machine.initial)
    if (kind(present), kind(wanted)) not in machine.transitions:
        exits = [to.value for (source, to) in machine.transitions if source == present]
        allowed = f"from there it may become {', '.join(exits)}" if exits else "nothing follows that state"
        raise WrongStateError(f"{machine.name} is {present}, it cannot become {wanted}; {allowed}")


def diagram(machine: Machine) -> str:
    """Draw the machine as a mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {machine.initial}"]
    lines += [f"    {source} --> {to}" for source, to in machine.transitions]
    lines += [f"    {state} --> [*]" for state in machine.states if state in machine.final]
    return "\n".join(lines) + "\n"


def document() -> str:
    """docs/states.md: every machine as a diagram and as a table of reasons."""
    parts = ["# States\n\nGenerated by `python -m boltz_core.rounds.states`; change the tables there, not this file.\n"]
    for machine in MACHINES:
        rows = "".join(f"| {source} | {to} | {why} |\n" for (source, to), why in machine.transitions.items())
        table = f"| from | to | because |\n|---|---|---|\n{rows}"
        parts.append(f"## {machine.name}\n\n```mermaid\n{diagram(machine)}```\n\n{table}")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(document())
