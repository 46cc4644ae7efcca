"""What operators decide about a client: let in, suspend, resume, revoke, assign.

Each change is one conditional write, so that of two operators who decide at the same time one is told that the other
was faster.
"""

from django.db import transaction
from django.utils import timezone

from apps.audit import services as audit
from apps.clients.models import Client, ClientKey, KeyState, Organisation
from boltz_core.rounds.states import CLIENT, ClientState, WrongStateError, check_transition


def approve(client: Client, *, actor: str, reason: str = "") -> None:
    """Let a waiting client in.

    Raises:
        WrongStateError: it does not wait (`wrong_state`).
    """
    _change_state(
        client, ClientState.ACTIVE, present=ClientState.PENDING, type_="client.approved", actor=actor, reason=reason
    )


def suspend(client: Client, *, actor: str, reason: str) -> None:
    """Keep a client out until it is resumed. What it has in a round counts only if it is resumed before the freeze.

    Raises:
        WrongStateError: it is not active.
    """
    _change_state(
        client, ClientState.SUSPENDED, present=ClientState.ACTIVE, type_="client.suspended", actor=actor, reason=reason
    )


def resume(client: Client, *, actor: str, reason: str) -> None:
    """End a suspension.

    Raises:
        WrongStateError: it is not suspended.
    """
    _change_state(
        client, ClientState.ACTIVE, present=ClientState.SUSPENDED, type_="client.resumed", actor=actor, reason=reason
    )


def revoke(client: Client, *, actor: str, reason: str) -> None:
    """Keep a client out for good, at its next request: its keys are revoked.

    Raises:
        WrongStateError: it is revoked or erased already.
    """
    present = ClientState(Client.objects.values_list("state", flat=True).get(pk=client.pk))
    with transaction.atomic():
        _change_state(client, ClientState.REVOKED, present=present, type_="client.revoked", actor=actor, reason=reason)
        revoke_keys(client)


def revoke_keys(client: Client) -> None:
    """Let none of a client's keys sign any more, in the caller's transaction."""
    active = ClientKey.objects.filter(client=client, state=KeyState.ACTIVE)
    active.update(state=KeyState.REVOKED, retired_at=timezone.now())


def assign_organisation(client: Client, organisation: Organisation | None, *, actor: str) -> None:
    """Say to which organisation a client belongs."""
    with transaction.atomic():
        Client.objects.filter(pk=client.pk).update(organisation=organisation)
        audit.append(
            "client.assigned",
            actor=actor,
            subject=client.pseudonym,
            detail={"client": client.id, "organisation": organisation.name if organisation else None},
        )
    client.organisation = organisation


def _change_state(
    client: Client, wanted: ClientState, *, present: ClientState, type_: str, actor: str, reason: str
) -> None:
    check_transition(CLIENT, present, wanted)
    with transaction.atomic():
        if not Client.objects.filter(pk=client.pk, state=present).update(state=wanted):
            raise WrongStateError(f"the client is not {present} (any more); look again before you decide")
        audit.append(type_, actor=actor, subject=client.pseudonym, detail={"client": client.id, "reason": reason})
    client.state = wanted
