import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers, generate_private_key
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from boltz_protocol import codec, signing
from boltz_protocol.encoding import base64url, from_base64url
from boltz_protocol.errors import BadSignatureError, MalformedMessageError
from boltz_protocol.messages import Jwk, Participation, SignedDocument, TensorSpec
from boltz_protocol.signing import Purpose

NOT_BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
P = 2**255 - 19
PARTICIPATION = Participation(v=1, model="boltz-core", round=7, client_id="c_7", upload_id="u_42")


@pytest.fixture(scope="module")
def document(client_key, client_kid):
    return signing.sign_document(PARTICIPATION, purpose=Purpose.RECEIPT, kid=client_kid, sign=client_key.sign)


@pytest.fixture(scope="module")
def keys(client_kid, client_public):
    return {client_kid: client_public}


@pytest.fixture(scope="module")
def ed25519_jwk(client_public):
    return signing.ed25519_jwk(client_public, state="current", not_before=NOT_BEFORE)


@pytest.fixture(scope="module")
def rsa_jwk(server_key):
    return signing.rsa_jwk(server_key.public_key(), state="retired", not_before=NOT_BEFORE, not_after=NOT_BEFORE)


# --- thumbprints ---


def test_the_thumbprint_of_rfc_8037_appendix_a3():
    public_key = from_base64url("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    assert signing.thumbprint(public_key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_thumbprint_of_rfc_7638_section_3_1():
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
        "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ"
        "vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK"
        "nqDKgw"
    )
    n = int.from_bytes(from_base64url(modulus), "big")
    assert signing.rsa_thumbprint(n, 65537) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_has_no_thumbprint(length):
    with pytest.raises(MalformedMessageError):
        signing.thumbprint(bytes(length))


# --- keys as JWK ---


def test_an_ed25519_key_comes_back_from_its_jwk(ed25519_jwk, client_public):
    decoded = codec.decode(codec.encode(ed25519_jwk), Jwk)
    assert signing.ed25519_from_jwk(decoded) == client_public


def test_an_rsa_key_comes_back_from_its_jwk(rsa_jwk, server_key):
    decoded = codec.decode(codec.encode(rsa_jwk), Jwk)
    assert signing.rsa_from_jwk(decoded) == server_key.public_key()


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": "A" * 43},
        {"kty": "RSA"},
        {"use": "enc"},
        {"alg": "RSA-OAEP-256"},
        {"crv": None},
        {"x": None},
        {"x": base64url(bytes(31))},
        {"x": "not base64url"},
        {"n": "AQAB"},
        {"e": "AQAB"},
    ],
    ids=str,
)
def test_an_ed25519_jwk_that_contradicts_itself_is_refused(ed25519_jwk, changes):
    with pytest.raises(MalformedMessageError):
        signing.ed25519_from_jwk(replace(ed25519_jwk, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": "A" * 43},
        {"kty": "OKP"},
        {"use": "sig"},
        {"alg": "EdDSA"},
        {"crv": "Ed25519"},
        {"x": "AA"},
        {"n": None},
        {"e": None},
        {"e": "Aw"},
        {"e": "AAEAAQ"},
        {"n": ""},
    ],
    ids=str,
)
def test_an_rsa_jwk_that_contradicts_itself_is_refused(rsa_jwk, changes):
    with pytest.raises(MalformedMessageError):
        signing.rsa_from_jwk(replace(rsa_jwk, **changes))


def test_an_rsa_modulus_with_a_leading_zero_byte_is_refused(rsa_jwk):
    with pytest.raises(MalformedMessageError, match="leading zero"):
        signing.rsa_from_jwk(replace(rsa_jwk, n=base64url(b"\0" + from_base64url(rsa_jwk.n))))


def test_an_rsa_key_of_2048_bits_is_refused():
    small = generate_private_key(65537, 2048).public_key()
    with pytest.raises(MalformedMessageError, match="3072 to 8192 bits"):
        signing.rsa_from_jwk(signing.rsa_jwk(small, state="current", not_before=NOT_BEFORE))


@pytest.mark.parametrize("n", [2**9000 + 1, 2**3072 - 2], ids=["too long", "even"])
def test_a_number_that_is_no_sound_modulus_is_refused(rsa_jwk, n):
    text = base64url(n.to_bytes((n.bit_length() + 7) // 8, "big"))
    with pytest.raises(MalformedMessageError):
        signing.rsa_from_jwk(replace(rsa_jwk, n=text, kid=signing.rsa_thumbprint(n, 65537)))


def test_an_rsa_exponent_of_three_is_refused_under_its_own_key_id(rsa_jwk, server_key):
    n = server_key.public_key().public_numbers().n
    jwk = signing.rsa_jwk(RSAPublicNumbers(3, n).public_key(), state="current", not_before=NOT_BEFORE)
    with pytest.raises(MalformedMessageError, match="exponent 65537"):
        signing.rsa_from_jwk(jwk)


# --- documents ---


def test_a_signed_document_is_verified_and_decoded(document, keys):
    wire = codec.decode(codec.encode(document), SignedDocument)
    assert signing.verify_document(wire, Participation, purpose=Purpose.RECEIPT, keys=keys) == PARTICIPATION


def test_the_purpose_is_part_of_what_is_signed(document, client_key):
    payload = from_base64url(document.payload)
    assert from_base64url(document.signature) == client_key.sign(b"boltz-mesh/v1/receipt\0" + payload)


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if purpose is not Purpose.RECEIPT])
def test_a_document_says_nothing_for_another_purpose(document, keys, purpose):
    relabelled = replace(document, purpose=purpose.value)
    for claimed in (document, relabelled):
        with pytest.raises(BadSignatureError):
            signing.verify_document(claimed, Participation, purpose=purpose, keys=keys)
    with pytest.raises(BadSignatureError):
        signing.verify_document(relabelled, Participation, purpose=Purpose.RECEIPT, keys=keys)


def test_a_document_by_an_unknown_key_is_refused(document):
    with pytest.raises(BadSignatureError, match="not a key trusted"):
        signing.verify_document(document, Participation, purpose=Purpose.RECEIPT, keys={})


def test_a_document_by_another_key_under_a_known_name_is_refused(document, client_kid):
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with pytest.raises(BadSignatureError):
        signing.verify_document(document, Participation, purpose=Purpose.RECEIPT, keys={client_kid: other})


def test_a_changed_payload_is_refused(document, keys):
    payload = base64url(from_base64url(document.payload).replace(b'"round":7', b'"round":8'))
    with pytest.raises(BadSignatureError):
        signing.verify_document(replace(document, payload=payload), Participation, purpose=Purpose.RECEIPT, keys=keys)


def test_a_changed_payload_is_refused_before_it_is_parsed(document, keys):
    with pytest.raises(BadSignatureError):
        signing.verify_document(
            replace(document, payload=base64url(b"not JSON")), Participation, purpose=Purpose.RECEIPT, keys=keys
        )


@pytest.mark.parametrize("signature", ["", base64url(bytes(64)), base64url(bytes(63))])
def test_a_signature_that_is_none_is_refused(document, keys, signature):
    with pytest.raises(BadSignatureError):
        signing.verify_document(
            replace(document, signature=signature), Participation, purpose=Purpose.RECEIPT, keys=keys
        )


def test_a_well_signed_document_of_another_type_is_refused(document, keys):
    with pytest.raises(MalformedMessageError):
        signing.verify_document(document, TensorSpec, purpose=Purpose.RECEIPT, keys=keys)


def test_a_well_signed_document_past_the_limit_is_refused(document, keys):
    with pytest.raises(MalformedMessageError, match="the limit is 20"):
        signing.verify_document(document, Participation, purpose=Purpose.RECEIPT, keys=keys, max_bytes=20)


# --- bare signatures ---


@given(st.binary(max_size=64), st.integers(0, 511))
def test_a_signature_with_one_bit_changed_is_refused(client_key, client_public, message, bit):
    signature = bytearray(client_key.sign(message))
    signing.verify_signature(client_public, bytes(signature), message)
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSignatureError):
        signing.verify_signature(client_public, bytes(signature), message)


def test_a_signature_whose_scalar_is_raised_by_the_group_order_is_refused(client_key, client_public):
    order = 2**252 + 27742317777372353535851937790883648493
    signature = client_key.sign(b"message")
    scalar = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(BadSignatureError):
        signing.verify_signature(client_public, signature[:32] + scalar.to_bytes(32, "little"), b"message")


def _add(first, second):
    # The twisted Edwards curve of RFC 8032 section 5.1, in affine coordinates.
    d = -121665 * pow(121666, -1, P) % P
    (x1, y1), (x2, y2) = first, second
    product = d * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def _x_of(y):
    d = -121665 * pow(121666, -1, P) % P
    square = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0
    return x


def test_the_refused_keys_are_all_points_whose_order_divides_eight():
    points = set()
    for y in signing._SMALL_ORDER_Y:
        x = _x_of(y % P)
        points |= {(x, y % P), (-x % P, y % P)}
        eightfold = (x, y % P)
        for _ in range(3):
            eightfold = _add(eightfold, eightfold)
        assert eightfold == (0, 1)
    assert len(points) == 8  # the cofactor: there are no others
    spellings = {y + extra for _, y in points for extra in (0, P) if y + extra < 2**255}
    assert spellings == signing._SMALL_ORDER_Y


@pytest.mark.parametrize("sign_bit", [0, 1])
def test_a_key_under_which_anyone_can_sign_is_refused(sign_bit):
    for y in signing._SMALL_ORDER_Y:
        key = (y | sign_bit << 255).to_bytes(32, "little")
        # R the neutral element, S zero: valid for every message under the neutral key.
        with pytest.raises(BadSignatureError, match="usable"):
            signing.verify_signature(key, (1).to_bytes(32, "little") + bytes(32), b"any message")


@pytest.mark.parametrize("key", [b"", bytes(31), b"\x05" * 33, b"\x02" + bytes(31)])
def test_bytes_that_are_no_key_are_refused(key):
    with pytest.raises(BadSignatureError):
        signing.verify_signature(key, bytes(64), b"message")


def test_the_ed25519_vector_of_rfc_8032_section_7_1_test_2():
    key = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = base64.b16decode(
        "92A009A9F0D4CAB8720E820B5F642540A2B27B5416503F8FB3762223EBDB69DA"
        "085AC1E43E15996E458F3613D0F11D8C387B2EAEB4302AEEB00D291612BB0C00"
    )
    signing.verify_signature(key, signature, b"\x72")
