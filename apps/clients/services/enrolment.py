"""Enrolment: a key asks to become a client.

What the setting BOLTZ_ENROLMENT means: `open`, anyone is active at once (development only); `token`, only with a token;
`approval`, a client without a token waits for an operator. A token counts for whoever is not in yet, also for a client
that waits and registers again with it, and gives the organisation; who is in uses up none. The same key gets the same
client, so a retry is safe; a key is never taken over by another client, a name never either.
"""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.db import IntegrityError, transaction

from apps.audit import services as audit
from apps.clients import selectors
from apps.clients.models import Client, ClientKey, EnrolmentToken, KeyState
from apps.clients.services.nonces import ReplayedError, spend_nonce
from apps.clients.services.tokens import TokenRefusedError, use_token
from boltz_core.rounds.states import CLIENT, ClientState, check_transition
from boltz_protocol.encoding import base64url, from_base64url
from boltz_protocol.errors import NotNowError
from boltz_protocol.http_signature import ParsedSignature
from boltz_protocol.messages import ClientRecord, EnrolmentRequest

ID_BYTES = 16
# strangers may ask without limit where operators approve by hand; past this many nobody reads the list anyway
MAX_WAITING_CLIENTS = 1000


class EnrolmentRefusedError(NotNowError):
    """A well-formed request to enrol that cannot be granted now."""

    default_code = "name_taken"


@dataclass(frozen=True)
class VerifiedEnrolment:
    """A request to enrol whose signature, by the key that it names, has been verified. Its nonce is not spent yet."""

    request: EnrolmentRequest
    signature: ParsedSignature
    address: str


def enrol(verified: VerifiedEnrolment) -> tuple[ClientRecord, bool]:
    """Make a client of a key, or give the one that it is; says which of the two.

    Raises:
        TokenRefusedError: a token is needed or does not count (`token_refused`); logged.
        EnrolmentRefusedError: `name_taken`, `key_in_use`, `enrolment_full`.
        ReplayedError: the request was received before.
    """
    try:
        return _known_or_new(verified)
    except TokenRefusedError as error:
        audit.record_refusal("enrolment.refused", address=verified.address, reason=error.code)
        raise
    except ReplayedError:
        audit.record_failed_authentication(address=verified.address, reason="replayed")
        raise


def _known_or_new(verified: VerifiedEnrolment) -> tuple[ClientRecord, bool]:
    try:
        with transaction.atomic():
            spend_nonce(verified.signature)
            return _known(verified) or _admit(verified)
    except IntegrityError:
        # two requests met: the other one has taken the key or the name, and has committed
        with transaction.atomic():
            spend_nonce(verified.signature)
            known = _known(verified)
            if known is None:
                raise EnrolmentRefusedError("another client has this name; choose another one") from None
            return known


def _known(verified: VerifiedEnrolment) -> tuple[ClientRecord, bool] | None:
    """The client that this key is already, let in when it waits and has a token now; None when the key is new."""
    key = ClientKey.objects.filter(kid=verified.signature.kid).select_related("client__organisation").first()
    if key is None:
        return None
    # whoever signed holds the key, so this tells a stranger nothing
    if key.state != KeyState.ACTIVE or key.client.name != verified.request.name:
        raise EnrolmentRefusedError(
            "this key belongs to a client of another name, or was given up; make a new key", code="key_in_use"
        )
    if key.client.state == ClientState.PENDING and verified.request.token is not None:
        key.client = _let_in(key.client, verified.request.token)
    return selectors.client_record(key.client, kid=key.kid), False


def _let_in(client: Client, text: str) -> Client:
    """PENDING -> ACTIVE by a token that came later, in the caller's transaction; gives the client as it is now."""
    # an operator who decides about it, or another request with a token, is waited for: then the token is not used up
    waiting = Client.objects.select_for_update().get(pk=client.pk)
    if waiting.state != ClientState.PENDING:
        return waiting
    token = use_token(text, kind=waiting.kind)
    check_transition(CLIENT, ClientState.PENDING, ClientState.ACTIVE)
    Client.objects.filter(pk=waiting.pk, state=ClientState.PENDING).update(
        state=ClientState.ACTIVE, organisation=token.organisation
    )
    detail = {"client": waiting.id, "organisation": token.organisation.name, "token": token.pk}
    audit.append("client.let_in", actor=waiting.pseudonym, subject=waiting.pseudonym, detail=detail)
    return Client.objects.select_related("organisation").get(pk=waiting.pk)


def _admit(verified: VerifiedEnrolment) -> tuple[ClientRecord, bool]:
    request = verified.request
    if Client.objects.filter(name__iexact=request.name).exists():
        raise EnrolmentRefusedError("another client has this name; choose another one")
    token = _token_for(request)
    state = ClientState.ACTIVE if token or settings.BOLTZ_ENROLMENT == "open" else ClientState.PENDING
    if state == ClientState.PENDING and selectors.clients_waiting().count() >= MAX_WAITING_CLIENTS:
        raise EnrolmentRefusedError("too many clients wait for approval; try again later", code="enrolment_full")
    client = Client.objects.create(
        id=f"c_{base64url(secrets.token_bytes(ID_BYTES))}",
        name=request.name,
        kind=request.kind,
        region=request.region,
        organisation=token.organisation if token else None,
        state=state,
        pseudonym=audit.new_subject("client"),
    )
    key = ClientKey.objects.create(
        kid=verified.signature.kid, client=client, public_key=from_base64url(request.public_key)
    )
    record = selectors.client_record(client, kid=key.kid)
    audit.append(
        "client.enrolled",
        actor=client.pseudonym,
        subject=client.pseudonym,
        detail={
            "client": client.id,
            "name": client.name,
            "kind": client.kind,
            "region": client.region,
            "organisation": record.organisation,
            "state": str(client.state),
            "kid": key.kid,
            "token": token.pk if token else None,
        },
    )
    return record, True


def _token_for(request: EnrolmentRequest) -> EnrolmentToken | None:
    if request.token is not None:
        return use_token(request.token, kind=request.kind)
    if settings.BOLTZ_ENROLMENT == "token":
        raise TokenRefusedError("an enrolment token is needed here; ask the operator for one")
    return None
