"""A client puts a new key in the place of its old one.

Both keys sign the same statement, which names the client, both key ids and this mesh: the old one, so that nobody else
can give the client a key; the new one, so that nobody can claim a key that is not his; the mesh's name, so that it
counts nowhere else. The old key is retired at once. Updates that it has signed stay what they are.
"""

from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.audit import services as audit
from apps.clients import selectors
from apps.clients.models import Client, ClientKey, KeyState
from boltz_protocol import signing
from boltz_protocol.encoding import from_base64url
from boltz_protocol.errors import NotNowError, SenderError
from boltz_protocol.messages import ClientRecord, KeyRotationRequest, KeyRotationStatement, SignedDocument


class KeyRotationError(SenderError):
    """A rotation that does not add up: another client, other keys, another mesh."""

    default_code = "rotation_refused"


@dataclass(frozen=True)
class KeyRotation:
    """A request to rotate, and who made it where."""

    client: Client
    old_key: ClientKey
    authority: str
    request: KeyRotationRequest


def rotate_key(rotation: KeyRotation) -> ClientRecord:
    """Retire the client's key and take the new one.

    Raises:
        KeyRotationError: the statement is about something else (`rotation_refused`).
        BadSignatureError: one of the two signatures does not verify (`bad_signature`).
        NotNowError: the new key was used before (`key_in_use`), or the old one has been retired meanwhile
            (`key_retired`).
    """
    statement = verified_statement(rotation)
    try:
        with transaction.atomic():
            _replace_key(rotation, statement)
    except IntegrityError:
        raise NotNowError("this key was used before; make a new one", code="key_in_use") from None
    return selectors.client_record(rotation.client, kid=statement.new_kid)


def verified_statement(rotation: KeyRotation) -> KeyRotationStatement:
    """What both keys say, once both signatures verify and it is about this client, its key and this mesh.

    Raises:
        KeyRotationError, BadSignatureError: as `rotate_key`.
    """
    old_kid, old_public = rotation.old_key.kid, bytes(rotation.old_key.public_key)
    by_old = _verify(rotation.request.by_old, kid=old_kid, public_key=old_public)
    new_public = from_base64url(by_old.new_public_key)
    new_kid = signing.thumbprint(new_public)
    by_new = _verify(rotation.request.by_new, kid=new_kid, public_key=new_public)
    said = (by_old.client_id, by_old.old_kid, by_old.new_kid, by_old.authority)
    if by_new != by_old or said != (rotation.client.id, old_kid, new_kid, rotation.authority):
        raise KeyRotationError("both keys must sign the same statement, about this client, these keys and this mesh")
    return by_old


def _verify(document: SignedDocument, *, kid: str, public_key: bytes) -> KeyRotationStatement:
    return signing.verify_document(
        document, KeyRotationStatement, purpose=signing.Purpose.KEY_ROTATION, keys={kid: public_key}
    )


def _replace_key(rotation: KeyRotation, statement: KeyRotationStatement) -> None:
    old = ClientKey.objects.filter(kid=statement.old_kid, client=rotation.client, state=KeyState.ACTIVE)
    # one row, or another rotation, a revocation or an erasure was faster
    if not old.update(state=KeyState.RETIRED, retired_at=timezone.now()):
        raise NotNowError("this key is not the client's key any more", code="key_retired")
    ClientKey.objects.create(
        kid=statement.new_kid, client=rotation.client, public_key=from_base64url(statement.new_public_key)
    )
    audit.append(
        "client.key_rotated",
        actor=rotation.client.pseudonym,
        subject=rotation.client.pseudonym,
        detail={"client": rotation.client.id, "old_kid": statement.old_kid, "new_kid": statement.new_kid},
    )
