r"""Ed25519 signatures with one context per purpose, and public keys as JWKs with their thumbprints.

What is signed is always `b"boltz-mesh/v1/" + purpose + b"\0" + payload`: a signature given for one purpose says
nothing under another. Private keys never come here: whoever holds one passes a `sign` function. `verify_*` raises, it
never returns False.

Sources: RFC 8032 (Ed25519), RFC 7638 (thumbprints), RFC 8037 (OKP keys), RFC 7518 section 6.3 (RSA keys).
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from boltz_protocol import codec
from boltz_protocol.encoding import base64url, from_base64url
from boltz_protocol.errors import BadSignatureError, MalformedMessageError
from boltz_protocol.messages import Jwk, Message, SignedDocument

PUBLIC_KEY_BYTES = 32
MIN_RSA_BITS = 3072
MAX_RSA_BITS = 8192
RSA_EXPONENT = 65537

KeyState = Literal["current", "retired", "destroyed"]
T = TypeVar("T")

# The y coordinates of the points whose order divides 8, in both spellings where there are two (y and y + p < 2^255),
# without the sign bit. Under such a key anyone can make signatures that verify for many messages, so nothing would be
# proven.
_P = 2**255 - 19
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y = frozenset({0, 1, _P - 1, _P, _P + 1, _ORDER_8_Y, _P - _ORDER_8_Y})


class Purpose(StrEnum):
    """What a signature is given for."""

    RECEIPT = "receipt"
    MANIFEST = "manifest"
    DESCRIPTOR = "descriptor"
    KEY_SUCCESSION = "key-succession"
    KEY_ROTATION = "key-rotation"


def thumbprint(public_key: bytes) -> str:
    """The key id of a raw Ed25519 public key: 43 characters (RFC 7638).

    Raises:
        MalformedMessageError: not 32 bytes.
    """
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise MalformedMessageError(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    return _thumbprint_of({"crv": "Ed25519", "kty": "OKP", "x": base64url(public_key)})


def rsa_thumbprint(n: int, e: int) -> str:
    """The key id of an RSA public key: 43 characters (RFC 7638)."""
    return _thumbprint_of({"e": _integer_text(e), "kty": "RSA", "n": _integer_text(n)})


def ed25519_jwk(public_key: bytes, *, state: KeyState, not_before: datetime, not_after: datetime | None = None) -> Jwk:
    """A raw Ed25519 public key as a JWK for signatures."""
    return Jwk(
        kid=thumbprint(public_key),
        kty="OKP",
        use="sig",
        alg="EdDSA",
        state=state,
        not_before=not_before,
        not_after=not_after,
        crv="Ed25519",
        x=base64url(public_key),
    )


def rsa_jwk(
    public_key: RSAPublicKey, *, state: KeyState, not_before: datetime, not_after: datetime | None = None
) -> Jwk:
    """An RSA public key as a JWK for wrapping content keys."""
    numbers = public_key.public_numbers()
    return Jwk(
        kid=rsa_thumbprint(numbers.n, numbers.e),
        kty="RSA",
        use="enc",
        alg="RSA-OAEP-256",
        state=state,
        not_before=not_before,
        not_after=not_after,
        n=_integer_text(numbers.n),
        e=_integer_text(numbers.e),
    )


def ed25519_from_jwk(jwk: Jwk) -> bytes:
    """The raw public key of a signing JWK; `jwk` is untrusted.

    Raises:
        MalformedMessageError: another kind or use of key, members of another kind, or a `kid` that is not its
            thumbprint.
    """
    if (jwk.kty, jwk.use, jwk.alg, jwk.crv) != ("OKP", "sig", "EdDSA", "Ed25519"):
        raise MalformedMessageError("not an Ed25519 signing key")
    if jwk.x is None or jwk.n is not None or jwk.e is not None:
        raise MalformedMessageError("an Ed25519 key has the member x, and neither n nor e")
    public_key = from_base64url(jwk.x)
    _check_kid(jwk, thumbprint(public_key))
    return public_key


def rsa_from_jwk(jwk: Jwk) -> RSAPublicKey:
    """The public key of an encryption JWK; `jwk` is untrusted.

    Raises:
        MalformedMessageError: another kind or use of key, a modulus outside 3072 to 8192 bits, an exponent other than
            65537, or a `kid` that is not its thumbprint.
    """
    if (jwk.kty, jwk.use, jwk.alg) != ("RSA", "enc", "RSA-OAEP-256"):
        raise MalformedMessageError("not an RSA encryption key")
    if jwk.n is None or jwk.e is None or jwk.crv is not None or jwk.x is not None:
        raise MalformedMessageError("an RSA key has the members n and e, and neither crv nor x")
    n, e = _integer_from_text(jwk.n), _integer_from_text(jwk.e)
    if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS or n % 2 == 0 or e != RSA_EXPONENT:
        raise MalformedMessageError(
            f"an RSA key has an odd modulus of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits and the exponent {RSA_EXPONENT}"
        )
    _check_kid(jwk, rsa_thumbprint(n, e))
    return RSAPublicNumbers(e, n).public_key()


def sign_document(message: Message, *, purpose: Purpose, kid: str, sign: Callable[[bytes], bytes]) -> SignedDocument:
    """Sign a message's canonical bytes for one purpose. `sign` is Ed25519 under the key named `kid`."""
    payload = codec.encode(message)
    return SignedDocument(
        v=1,
        purpose=purpose.value,
        kid=kid,
        payload=base64url(payload),
        signature=base64url(sign(_signed_bytes(purpose, payload))),
    )


def verify_document(
    document: SignedDocument,
    kind: type[T],
    *,
    purpose: Purpose,
    keys: Mapping[str, bytes],
    max_bytes: int = codec.MAX_MESSAGE_BYTES,
) -> T:
    """Check a signed document and decode its payload. The payload is parsed only after its signature has verified.

    Args:
        document: untrusted.
        kind: the message type that the payload must be.
        purpose: the only purpose accepted; another one is a document played back out of its place.
        keys: the raw public keys trusted for this purpose, by key id.
        max_bytes: limit on the payload.

    Raises:
        BadSignatureError: another purpose, a key that is not in `keys`, or a signature that does not verify.
        MalformedMessageError: not base64url, or not the canonical bytes of a `kind`.
    """
    if document.purpose != purpose.value:
        raise BadSignatureError(f"signed for {document.purpose!r}; {purpose.value!r} is needed")
    public_key = keys.get(document.kid)
    if public_key is None:
        raise BadSignatureError(f"signed by {document.kid}, which is not a key trusted for {purpose.value!r}")
    payload = from_base64url(document.payload)
    verify_signature(public_key, from_base64url(document.signature), _signed_bytes(purpose, payload))
    return codec.decode(payload, kind, max_bytes=max_bytes)


def verify_signature(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Check one Ed25519 signature.

    Raises:
        BadSignatureError: it does not verify, or the key is not a point that can prove anything (wrong length, small
            order).
    """
    if len(public_key) != PUBLIC_KEY_BYTES or _has_small_order(public_key):
        raise BadSignatureError("not a usable Ed25519 public key")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise BadSignatureError("the signature does not verify") from error


def _signed_bytes(purpose: Purpose, payload: bytes) -> bytes:
    # No purpose holds a zero byte, so purpose and payload cannot be divided in another place.
    return b"boltz-mesh/v1/" + purpose.value.encode("ascii") + b"\0" + payload


def _has_small_order(public_key: bytes) -> bool:
    return int.from_bytes(public_key, "little") & (2**255 - 1) in _SMALL_ORDER_Y


def _check_kid(jwk: Jwk, expected: str) -> None:
    if jwk.kid != expected:
        raise MalformedMessageError(f"the key id {jwk.kid} is not the key's thumbprint {expected}")


def _thumbprint_of(members: dict[str, str]) -> str:
    return base64url(hashlib.sha256(codec.encode(members)).digest())


def _integer_text(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _integer_from_text(text: str) -> int:
    value = int.from_bytes(from_base64url(text), "big")
    if _integer_text(value) != text:  # leading zero bytes are a second spelling of the same number
        raise MalformedMessageError("a number with leading zero bytes")
    return value
