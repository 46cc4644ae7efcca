"""A client is erased and forgotten: it leaves, or an operator erases it.

In one transaction: other apps erase what they hold of it (`client_erasing`), its keys are revoked, its name and region
go, and the log says that forgetting has begun. After the commit the key over its details in the log is destroyed, and
the log says so. A crash in between is mended by `audit.finish_forgetting`. What stays: leaves without its name,
published versions, its public keys, since they prove who signed what was aggregated; an operator's reason.
"""

import secrets

from django.db import transaction

from apps.audit import services as audit
from apps.clients.models import Client
from apps.clients.services.standing import revoke_keys
from apps.clients.signals import client_erasing
from boltz_core.rounds.states import CLIENT, ClientState, check_transition
from boltz_protocol.encoding import base64url

ERASED_NAME_BYTES = 12


def erase(client: Client, *, actor: str, reason: str = "") -> bool:
    """Erase a client in whatever state it is; False when it was erased before. May be repeated.

    `reason`: why an operator does it. It stays in the log in clear.
    """
    with transaction.atomic():
        # the lock keeps two erasures, and an erasure and a suspension, one after the other
        locked = Client.objects.select_for_update().get(pk=client.pk)
        begun = locked.state != ClientState.ERASED
        if begun:
            if reason:
                # no subject: it would be sealed under the key that is about to be destroyed
                detail = {"client": locked.pseudonym, "reason": reason}
                audit.append("client.erasure_ordered", actor=actor, detail=detail)
            _erase_locked(locked, actor=actor)
        transaction.on_commit(lambda: _forget(locked.pseudonym))
    client.refresh_from_db()
    return begun


def _erase_locked(client: Client, *, actor: str) -> None:
    check_transition(CLIENT, client.state, ClientState.ERASED)
    client_erasing.send(sender=Client, client=client, actor=actor)
    revoke_keys(client)
    Client.objects.filter(pk=client.pk).update(
        state=ClientState.ERASED,
        # random, so that nobody can take the name first and stand in the way
        name=f"erased-{base64url(secrets.token_bytes(ERASED_NAME_BYTES))}",
        region="",
        organisation=None,
    )
    audit.append("client.erased", actor=actor, subject=client.pseudonym, detail={"client": client.id})
    audit.begin_forgetting(client.pseudonym, actor=actor)


def _forget(pseudonym: str) -> None:
    audit.forget_subject(pseudonym)
