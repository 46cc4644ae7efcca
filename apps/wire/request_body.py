"""What must be true of a body before a byte of it is read.

Its length is announced, so that a body past the limit costs nothing; it is not compressed, so that it has one spelling
and cannot be a bomb.
"""

from django.http import HttpRequest

from boltz_protocol import codec
from boltz_protocol.errors import SenderError

BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
MAX_LENGTH_DIGITS = 15


class BodyRefusedError(SenderError):
    """A body that is not read at all, for what its headers say."""

    default_code = "bad_request"


def announced_bytes(request: HttpRequest) -> int:
    """The body's length as its headers announce it; 0 where there is no body.

    Raises:
        BodyRefusedError: compressed (`content_encoding_refused`), of unknown length (`length_required`), or an
            unreadable length.
    """
    if "HTTP_CONTENT_ENCODING" in request.META:
        raise BodyRefusedError(
            "Content-Encoding is not accepted: send the body as it is", code="content_encoding_refused"
        )
    raw = str(request.META.get("CONTENT_LENGTH") or "")
    # a chunked body has no length; a second length beside it is how requests are smuggled
    if "HTTP_TRANSFER_ENCODING" in request.META or (not raw and request.method in BODY_METHODS):
        raise BodyRefusedError("send Content-Length, and no Transfer-Encoding", code="length_required")
    if not raw:
        return 0
    if not (raw.isascii() and raw.isdigit() and len(raw) <= MAX_LENGTH_DIGITS):
        raise BodyRefusedError("Content-Length is not a number of bytes")
    return int(raw)


def read_body(request: HttpRequest, *, max_bytes: int = codec.MAX_MESSAGE_BYTES) -> bytes:
    """The whole body, when its headers allow it.

    Raises:
        BodyRefusedError: as `announced_bytes`; longer than `max_bytes` (`body_too_large`), or cut short.
    """
    length = announced_bytes(request)
    if length > max_bytes:
        raise BodyRefusedError(f"body of {length} bytes; the limit is {max_bytes}", code="body_too_large")
    body = request.body if length else b""
    if len(body) != length:
        raise BodyRefusedError(f"body of {len(body)} bytes; Content-Length says {length}")
    return body
