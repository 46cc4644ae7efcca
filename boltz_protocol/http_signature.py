"""HTTP message signatures (RFC 9421) in one fixed profile: label `sig`, tag `bt-fl-v1`, Ed25519.

With a body the signature covers "@method" "@path" "@query" "@authority" "content-type" "content-digest", without one
the first four. The parameters are created, keyid, alg, expires, nonce and tag, in this order. The verifier demands
exactly that, in one spelling: nothing is negotiated, nothing optional, so there is no weaker request to be talked into.

Left to the caller: looking up the key, spending the nonce, comparing the digest with the body, and refusing a body on a
request whose signature covers none. Source: RFC 9421 sections 2 and 3; the digest field is RFC 9530's.
"""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass

from boltz_protocol.encoding import base64url, from_base64url
from boltz_protocol.errors import BadSignatureError, MalformedMessageError, SenderError
from boltz_protocol.signing import PUBLIC_KEY_BYTES, thumbprint, verify_signature

MAX_LIFETIME_SECONDS = 300
MAX_CLOCK_SKEW_SECONDS = 60
NONCE_BYTES = 16

_WITHOUT_BODY = ("@method", "@path", "@query", "@authority")
_WITH_BODY = (*_WITHOUT_BODY, "content-type", "content-digest")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_SIGNATURE = re.compile(r"sig=:([A-Za-z0-9+/]{86}==):")
_INPUT = re.compile(
    r'sig=(?P<params>\((?P<components>["@a-z -]*)\)'
    r";created=(?P<created>[1-9][0-9]{0,14})"
    r';keyid="(?P<kid>[A-Za-z0-9_-]{43})"'
    r';alg="ed25519"'
    r";expires=(?P<expires>[1-9][0-9]{0,14})"
    r';nonce="(?P<nonce>[A-Za-z0-9_-]{22})"'
    r';tag="bt-fl-v1")'
)
_VISIBLE = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class ClockSkewError(SenderError):
    """A valid signature, made too long ago or too far ahead of the server's clock."""

    default_code = "clock_skew"


@dataclass(frozen=True)
class RequestParts:
    """What a signature covers: `path` as on the wire, `query` without "?", content fields only when there is a body."""

    method: str
    authority: str
    path: str
    query: str
    content_type: str | None = None
    content_digest: str | None = None


@dataclass(frozen=True)
class ParsedSignature:
    """A signature in the profile, not yet verified. `base` is what was signed."""

    kid: str
    nonce: str
    created: int
    expires: int
    base: bytes
    signature: bytes


def content_digest(sha256: bytes) -> str:
    """The `Content-Digest` field for the SHA-256 of a body."""
    return f"sha-256=:{base64.b64encode(sha256).decode('ascii')}:"


def parse_content_digest(header: str) -> bytes:
    """The 32 bytes of a `Content-Digest` field that holds one SHA-256; `header` is untrusted.

    Raises:
        MalformedMessageError: another algorithm, several of them, or another spelling.
    """
    match = _DIGEST.fullmatch(header)
    if match is None:
        raise MalformedMessageError("content-digest must be one sha-256 digest")
    return _from_base64(match[1])


def make_signature(
    request: RequestParts,
    *,
    kid: str,
    sign: Callable[[bytes], bytes],
    nonce: bytes,
    created: int,
    lifetime_seconds: int = 120,
) -> dict[str, str]:
    """The two header fields that sign a request.

    Args:
        request: what is covered.
        kid: thumbprint of the signing key.
        sign: Ed25519 under that key.
        nonce: 16 random bytes, never used before.
        created: Unix seconds.
        lifetime_seconds: 1 to 300.

    Raises:
        MalformedMessageError: a nonce or lifetime outside the profile.
        BadSignatureError: a part of the request that cannot be signed (control characters, half a body).
    """
    if len(nonce) != NONCE_BYTES or not 1 <= lifetime_seconds <= MAX_LIFETIME_SECONDS:
        raise MalformedMessageError(f"a nonce has {NONCE_BYTES} bytes, a lifetime 1 to {MAX_LIFETIME_SECONDS} seconds")
    params = (
        f'({_component_list(request)});created={created};keyid="{kid}";alg="ed25519"'
        f';expires={created + lifetime_seconds};nonce="{base64url(nonce)}";tag="bt-fl-v1"'
    )
    signature = base64.b64encode(sign(_signature_base(request, params))).decode("ascii")
    return {"Signature-Input": f"sig={params}", "Signature": f"sig=:{signature}:"}


def parse_signature(request: RequestParts, *, signature_input: str, signature: str) -> ParsedSignature:
    """Read the two header fields of a request; everything is untrusted and nothing is verified yet.

    Raises:
        BadSignatureError: not exactly the profile, for this request: its components, its parameters, its one spelling.
    """
    match = _INPUT.fullmatch(signature_input)
    value = _SIGNATURE.fullmatch(signature)
    if match is None or value is None or match["components"] != _component_list(request):
        raise BadSignatureError("the signature is not in the profile bt-fl-v1")
    created, expires = int(match["created"]), int(match["expires"])
    if not 1 <= expires - created <= MAX_LIFETIME_SECONDS:
        raise BadSignatureError(f"a signature lives 1 to {MAX_LIFETIME_SECONDS} seconds")
    try:
        from_base64url(match["nonce"])
        raw_signature = _from_base64(value[1])
    except MalformedMessageError as error:
        raise BadSignatureError(error.message) from error
    return ParsedSignature(
        kid=match["kid"],
        nonce=match["nonce"],
        created=created,
        expires=expires,
        base=_signature_base(request, match["params"]),
        signature=raw_signature,
    )


def verify_request(parsed: ParsedSignature, *, public_key: bytes, now: int) -> None:
    """Check a parsed signature under the key that its key id names, then its times.

    The times are judged last: only someone who holds the key learns the server's clock.

    Args:
        parsed: from `parse_signature`.
        public_key: raw Ed25519, 32 bytes.
        now: Unix seconds when the headers arrived.

    Raises:
        BadSignatureError: the key is not the one named, or the signature does not verify.
        ClockSkewError: expired, or created more than 60 seconds ahead.
    """
    # A signature under another key than the one it names would let one client answer for another's nonces.
    if len(public_key) != PUBLIC_KEY_BYTES or thumbprint(public_key) != parsed.kid:
        raise BadSignatureError("the signature names another key")
    verify_signature(public_key, parsed.signature, parsed.base)
    if parsed.created > now + MAX_CLOCK_SKEW_SECONDS or parsed.expires < now:
        raise ClockSkewError(f"signed for {parsed.created} to {parsed.expires}; the server's clock says {now}")


def _component_list(request: RequestParts) -> str:
    return " ".join(f'"{name}"' for name in _covered(request))


def _covered(request: RequestParts) -> tuple[str, ...]:
    if (request.content_type is None) != (request.content_digest is None):
        raise BadSignatureError("content-type and content-digest come together, when there is a body")
    return _WITHOUT_BODY if request.content_digest is None else _WITH_BODY


def _signature_base(request: RequestParts, params: str) -> bytes:
    """The bytes that are signed (RFC 9421 section 2.5)."""
    values = {
        "@method": request.method,
        "@path": request.path,
        "@query": f"?{request.query}",
        "@authority": request.authority.lower(),
        "content-type": request.content_type or "",
        "content-digest": request.content_digest or "",
    }
    lines = [f'"{name}": {_one_line(values[name])}' for name in _covered(request)]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode("ascii")


def _one_line(value: str) -> str:
    # A line break inside a value would let a sender write further lines of the base.
    if _VISIBLE.fullmatch(value) is None:
        raise BadSignatureError("a covered value is empty or has characters outside printable ASCII")
    return value


def _from_base64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)  # cannot fail: both patterns admit only whole groups of the alphabet
    if base64.b64encode(data).decode("ascii") != text:
        raise MalformedMessageError("not base64 in its one spelling")
    return data
