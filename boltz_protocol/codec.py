"""Messages <-> canonical JSON bytes (RFC 8785).

One message has one spelling: what was decoded is encoded again and must give the bytes that came in. That refuses, in
one comparison, white space, other orders of keys, duplicate keys, left-out defaults, exponents, escapes and trailing
bytes, so that the hash of a message stays meaningful. Size is checked before parsing, types and ranges while parsing
(msgspec).

Source: RFC 8785 (JSON Canonicalization Scheme).
"""

import hashlib
from typing import TypeVar

import msgspec
import rfc8785

from boltz_protocol.errors import MalformedMessageError

MAX_MESSAGE_BYTES = 64 * 1024

T = TypeVar("T")


def encode(message: object) -> bytes:
    """Encode a message, or plain JSON values, as canonical JSON.

    Raises:
        MalformedMessageError: a value that JSON cannot carry exactly (NaN, infinities, integers beyond 2^53 - 1).
    """
    try:
        return rfc8785.dumps(msgspec.to_builtins(message))
    except (rfc8785.CanonicalizationError, TypeError, ValueError) as error:
        raise MalformedMessageError(f"cannot be written as canonical JSON: {error}") from error


def etag(message: object) -> str:
    """The entity tag (RFC 9110, section 8.8.3) of a message: the SHA-256 of its one spelling, in quotes.

    Raises:
        MalformedMessageError: as `encode`.
    """
    return f'"{hashlib.sha256(encode(message)).hexdigest()}"'


def decode(raw: bytes | bytearray | memoryview, kind: type[T], *, max_bytes: int = MAX_MESSAGE_BYTES) -> T:
    """Decode the canonical bytes of one message of type `kind`; `raw` is untrusted.

    Raises:
        MalformedMessageError: too long, not JSON, unknown or missing fields, a value out of range, or not the canonical
            spelling.
    """
    if len(raw) > max_bytes:
        raise MalformedMessageError(f"message of {len(raw)} bytes; the limit is {max_bytes}")
    try:
        message = msgspec.json.decode(raw, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedMessageError(f"{kind.__name__}: {error}") from error
    if encode(message) != bytes(raw):
        raise MalformedMessageError(f"{kind.__name__}: not in canonical form (RFC 8785, every field present)")
    return message
