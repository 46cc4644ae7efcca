"""Who signed this request? RFC 9421 in the mesh's one profile, as DRF authentication.

All failures look alike from outside, in their answer and in the work done: an unknown key id is checked against a key
that nobody has. They are told apart in the log only. The exception is a valid signature with a wrong clock: its sender
is known, and is told the time.

A nonce is spent before the view runs and in a transaction of its own: a request that is refused later on cannot be
played again when it would be granted. The methods that a view names in `streams_body` check the digest while the body
streams, and spend the nonce in the transaction that takes the upload, so that a broken connection costs nothing.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils.encoding import escape_uri_path
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from apps.audit import services as audit
from apps.clients import selectors, services
from apps.clients.models import Client, ClientKey
from apps.wire import request_body
from apps.wire.authentication_failure import AuthenticationFailedError
from apps.wire.source_address import source_address
from boltz_protocol import codec, http_signature, signing
from boltz_protocol.encoding import from_base64url
from boltz_protocol.errors import BadSignatureError, MalformedMessageError, SenderError
from boltz_protocol.http_signature import ClockSkewError, ParsedSignature, RequestParts
from boltz_protocol.messages import EnrolmentRequest

DUMMY_PUBLIC_KEY = Ed25519PrivateKey.generate().public_key().public_bytes_raw()


@dataclass(frozen=True)
class ClientPrincipal:
    """`request.user` of a signed request."""

    client: Client
    key: ClientKey

    @property
    def is_authenticated(self) -> bool:
        """What DRF asks."""
        return True


class SignatureAuthentication(BaseAuthentication):
    """For all but enrolment. An unsigned request is left to the permissions.

    `request.user` is a `ClientPrincipal`, `request.auth` the `ParsedSignature`.
    """

    def authenticate(self, request: Request) -> tuple[ClientPrincipal, ParsedSignature] | None:
        """Check the request's signature, its body's digest and its nonce.

        Raises:
            AuthenticationFailedError: any failure of these.
            ClockSkewError: a valid signature, too old or too new.
            BodyRefusedError: a body that is not read at all.
        """
        http_request = request._request  # noqa: SLF001 - DRF's documented way to Django's request
        streams_body = request.method in getattr(_view_of(request), "streams_body", ())
        length = request_body.announced_bytes(http_request)
        if "HTTP_SIGNATURE" not in request.META and "HTTP_SIGNATURE_INPUT" not in request.META:
            return None
        now = int(time.time())
        body = None if streams_body else request_body.read_body(http_request)
        try:
            parsed = parse_signature(http_request, has_body=length > 0)
            key = verified_key(parsed, now=now)
            if body:
                check_digest(http_request, body)
            if not streams_body:
                services.spend_nonce(parsed)
        except ClockSkewError:
            raise
        except SenderError as error:
            refuse(request, reason=_reason(error))
        return ClientPrincipal(client=key.client, key=key), parsed


class EnrolmentAuthentication(BaseAuthentication):
    """For `POST /clients`, signed by the key in its own body.

    `request.auth` is the `VerifiedEnrolment`; there is no user yet.
    """

    def authenticate(self, request: Request) -> tuple[AnonymousUser, services.VerifiedEnrolment]:
        """Check the signature against the body's own key, which proves that the sender holds it.

        Raises:
            AuthenticationFailedError, ClockSkewError, BodyRefusedError: as `SignatureAuthentication`.
            MalformedMessageError: the body is not a request to enrol.
        """
        http_request = request._request  # noqa: SLF001 - the same
        body = request_body.read_body(http_request)
        now = int(time.time())
        message = codec.decode(body, EnrolmentRequest)
        try:
            parsed = parse_signature(http_request, has_body=True)
            http_signature.verify_request(parsed, public_key=from_base64url(message.public_key), now=now)
            check_digest(http_request, body)
        except ClockSkewError:
            raise
        except SenderError as error:
            refuse(request, reason=_reason(error))
        verified = services.VerifiedEnrolment(request=message, signature=parsed, address=source_address(http_request))
        return AnonymousUser(), verified


class UnknownKeyError(BadSignatureError):
    """No client may sign with this key."""

    default_code = "unknown_key"


class DigestMismatchError(SenderError):
    """The body is not the one whose digest was signed."""

    default_code = "digest_mismatch"


def parse_signature(request: HttpRequest, *, has_body: bool) -> ParsedSignature:
    """The request's signature in the profile, not verified.

    Raises:
        BadSignatureError: it has none, or another one.
    """
    meta = request.META
    parts = RequestParts(
        method=request.method or "",
        authority=authority_of(request),
        path=escape_uri_path(request.path),
        query=meta.get("QUERY_STRING", ""),
        content_type=meta.get("CONTENT_TYPE", "") if has_body else None,
        content_digest=meta.get("HTTP_CONTENT_DIGEST", "") if has_body else None,
    )
    return http_signature.parse_signature(
        parts, signature_input=meta.get("HTTP_SIGNATURE_INPUT", ""), signature=meta.get("HTTP_SIGNATURE", "")
    )


def authority_of(request: HttpRequest) -> str:
    """The mesh's name in this request.

    Django checks it against ALLOWED_HOSTS: what was signed for another mesh fails here.
    """
    return request.get_host().lower()


def verified_key(parsed: ParsedSignature, *, now: int) -> ClientKey:
    """The client's key that made the signature.

    Raises:
        BadSignatureError: no such key, or not by it.
        ClockSkewError: by it, at a wrong time.
    """
    key = selectors.signing_key(parsed.kid)
    if key is None:
        # the same work as for a known key: the time that this takes must not tell which keys exist
        signing.thumbprint(DUMMY_PUBLIC_KEY)
        try:
            signing.verify_signature(DUMMY_PUBLIC_KEY, parsed.signature, parsed.base)
        except BadSignatureError as error:
            raise UnknownKeyError("no such key") from error
        raise UnknownKeyError("no such key")
    http_signature.verify_request(parsed, public_key=bytes(key.public_key), now=now)
    return key


def check_digest(request: HttpRequest, body: bytes) -> None:
    """Compare the body with the digest that was signed.

    Raises:
        DigestMismatchError: another body.
        MalformedMessageError: no readable digest.
    """
    if (
        http_signature.parse_content_digest(request.META.get("HTTP_CONTENT_DIGEST", ""))
        != hashlib.sha256(body).digest()
    ):
        raise DigestMismatchError("the body is not the one whose digest was signed")


def refuse(request: Request, *, reason: str) -> NoReturn:
    """Log why, fold it with the others of this source and minute, and say nothing of it outside.

    Raises:
        AuthenticationFailedError: always.
    """
    audit.record_failed_authentication(address=source_address(request._request), reason=reason)  # noqa: SLF001 - as above
    raise AuthenticationFailedError from None


def _reason(error: SenderError) -> str:
    if isinstance(error, services.ReplayedError):
        return "replayed"
    return "digest_malformed" if isinstance(error, MalformedMessageError) else error.code


def _view_of(request: Request) -> Any:
    return (request.parser_context or {}).get("view")
