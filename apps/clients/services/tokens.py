"""Enrolment tokens: made by operators, counted by one conditional UPDATE so that no race can spend one twice."""

import hashlib
import secrets
from datetime import timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from apps.audit import services as audit
from apps.clients.models import EnrolmentToken, Organisation
from boltz_protocol.encoding import base64url
from boltz_protocol.errors import SenderError

TOKEN_BYTES = 32
TOKEN_PREFIX = "bt_"  # noqa: S105 - marks tokens for people and for secret scanners


class TokenRefusedError(SenderError):
    """An enrolment token that is needed and missing, or does not let this client in.

    Why it does not is not said: unknown, used up and expired look alike to whoever tries tokens.
    """

    default_code = "token_refused"


def make_token(
    *, organisation: str, actor: str, kind: str | None = None, max_uses: int = 1, valid_for: timedelta, note: str = ""
) -> tuple[str, EnrolmentToken]:
    """Make a token for `max_uses` clients of an organisation; gives its text, which is not kept, and its row."""
    text = TOKEN_PREFIX + base64url(secrets.token_bytes(TOKEN_BYTES))
    with transaction.atomic():
        owner, _ = Organisation.objects.get_or_create(name=organisation)
        token = EnrolmentToken.objects.create(
            digest=digest_of(text),
            organisation=owner,
            kind=kind,
            max_uses=max_uses,
            expires_at=timezone.now() + valid_for,
            note=note,
        )
        audit.append("token.made", actor=actor, detail={"token": token.pk, "kind": kind, "max_uses": max_uses})
    return text, token


def revoke_token(token: EnrolmentToken, *, actor: str) -> bool:
    """Let nobody in with a token any more; False when that was so before."""
    with transaction.atomic():
        if not EnrolmentToken.objects.filter(pk=token.pk, revoked=False).update(revoked=True):
            return False
        audit.append("token.revoked", actor=actor, detail={"token": token.pk})
    return True


def use_token(text: str, *, kind: str) -> EnrolmentToken:
    """Count one use of a token, in the caller's transaction, and give its row.

    Raises:
        TokenRefusedError: unknown, revoked, expired, used up, or for another kind of client.
    """
    digest = digest_of(text)
    usable = EnrolmentToken.objects.filter(
        Q(kind__isnull=True) | Q(kind=kind),
        digest=digest,
        revoked=False,
        expires_at__gt=timezone.now(),
        uses__lt=F("max_uses"),
    )
    # the row lock makes the second of two racing enrolments see the first one's count
    if not usable.update(uses=F("uses") + 1):
        raise TokenRefusedError("the enrolment token does not let this client in; ask the operator for a new one")
    return EnrolmentToken.objects.select_related("organisation").get(digest=digest)


def digest_of(text: str) -> str:
    """What is kept of a token. It has 256 random bits, so a plain hash cannot be reversed by guessing."""
    return hashlib.sha256(text.encode()).hexdigest()
