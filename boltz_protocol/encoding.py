"""Bytes as text: base64url without padding (RFC 4648, section 5), one spelling only.

What was decoded is encoded again and must give the text that came in, so that no two texts stand for the same bytes:
padding, the other alphabet, white space, impossible lengths and stray bits in the last character are all refused by
that comparison.
"""

import base64
import binascii

from boltz_protocol.errors import MalformedMessageError


def base64url(data: bytes) -> str:
    """Encode bytes as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """Decode base64url; `text` is untrusted.

    Raises:
        MalformedMessageError: padding, a character outside the alphabet, an impossible length, or stray bits in the
            last one.
    """
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise MalformedMessageError("not base64url without padding") from error
    if base64url(data) != text:
        raise MalformedMessageError("not base64url without padding in its one spelling")
    return data
