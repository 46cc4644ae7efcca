"""Canonical JSON (RFC 8785) in and out of views.

A view reads with `read_message(request, EnrolmentRequest)`, or `read_nothing(request)` where a request has no body, and
answers with `Response(message)`; nothing else of a body is ever used.
"""

from typing import Any, TypeVar

from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from apps.wire.request_body import announced_bytes
from boltz_protocol import codec
from boltz_protocol.errors import MalformedMessageError

T = TypeVar("T")


class CanonicalJSONParser(BaseParser):
    """Takes the body as bytes, one byte past the limit at most; what they mean is for `read_message` to say."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> bytes:
        """The raw body; `codec.decode` refuses one that is past the limit."""
        return bytes(stream.read(codec.MAX_MESSAGE_BYTES + 1))


class CanonicalJSONRenderer(BaseRenderer):
    """Writes a message, or plain JSON values, in their one canonical spelling."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """The canonical bytes; none for an answer without content."""
        return b"" if data is None else codec.encode(data)


def read_nothing(request: Request) -> None:
    """Make sure that a request says nothing in a body: nobody would read it.

    Raises:
        MalformedMessageError: there is a body.
        BodyRefusedError: its headers announce one that is not read at all.
    """
    if announced_bytes(request._request):  # noqa: SLF001 - DRF's documented way to Django's request
        raise MalformedMessageError("this request takes no body")


def read_message(request: Request, kind: type[T]) -> T:
    """Decode the request's body as one message of type `kind`.

    Raises:
        MalformedMessageError: there is no body, or it is not the canonical spelling of such a message.
        UnsupportedMediaType: the body is not application/json (DRF).
    """
    raw = request.data
    if not isinstance(raw, bytes):
        raise MalformedMessageError(f"{kind.__name__}: the request has no body")
    return codec.decode(raw, kind)
