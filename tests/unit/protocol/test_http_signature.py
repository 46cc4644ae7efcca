import base64
import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from boltz_protocol import http_signature
from boltz_protocol.errors import BadSignatureError, MalformedMessageError
from boltz_protocol.http_signature import ClockSkewError, RequestParts

NOW = 1_772_000_000
NONCE = bytes(range(16))
DIGEST = http_signature.content_digest(hashlib.sha256(b"body").digest())
GET = RequestParts(method="GET", authority="mesh.example:8443", path="/api/v1/models", query="")
PUT = RequestParts(
    method="PUT",
    authority="mesh.example",
    path="/api/v1/models/boltz-core/rounds/7/updates/u_42",
    query="dry=1",
    content_type="application/octet-stream",
    content_digest=DIGEST,
)
BOTH = pytest.mark.parametrize("request_parts", [GET, PUT], ids=["without a body", "with a body"])


@pytest.fixture
def make(client_key, client_kid):
    def make(request_parts=PUT, *, nonce=NONCE, created=NOW, lifetime_seconds=120):
        return http_signature.make_signature(
            request_parts,
            kid=client_kid,
            sign=client_key.sign,
            nonce=nonce,
            created=created,
            lifetime_seconds=lifetime_seconds,
        )

    return make


def parse(request_parts, fields):
    return http_signature.parse_signature(
        request_parts, signature_input=fields["Signature-Input"], signature=fields["Signature"]
    )


@BOTH
def test_a_signed_request_is_verified(make, client_public, client_kid, request_parts):
    parsed = parse(request_parts, make(request_parts))
    http_signature.verify_request(parsed, public_key=client_public, now=NOW)
    assert (parsed.kid, parsed.nonce) == (client_kid, "AAECAwQFBgcICQoLDA0ODw")
    assert (parsed.created, parsed.expires) == (NOW, NOW + 120)


def test_the_signature_base_is_the_one_of_the_profile(make, client_kid):
    params = (
        '("@method" "@path" "@query" "@authority" "content-type" "content-digest")'
        f';created={NOW};keyid="{client_kid}";alg="ed25519";expires={NOW + 120}'
        ';nonce="AAECAwQFBgcICQoLDA0ODw";tag="bt-fl-v1"'
    )
    fields = make(PUT)
    assert fields["Signature-Input"] == f"sig={params}"
    assert parse(PUT, fields).base.decode() == (
        '"@method": PUT\n'
        '"@path": /api/v1/models/boltz-core/rounds/7/updates/u_42\n'
        '"@query": ?dry=1\n'
        '"@authority": mesh.example\n'
        '"content-type": application/octet-stream\n'
        f'"content-digest": {DIGEST}\n'
        f'"@signature-params": {params}'
    )


def test_the_authority_is_compared_without_case(make, client_public):
    parsed = parse(replace(PUT, authority="MESH.example"), make(PUT))
    http_signature.verify_request(parsed, public_key=client_public, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "POST"},
        {"authority": "other.example"},
        {"path": PUT.path.replace("/7/", "/8/")},
        {"query": ""},
        {"query": "dry=0"},
        {"content_type": "application/json"},
        {"content_digest": http_signature.content_digest(bytes(32))},
    ],
    ids=str,
)
def test_a_request_with_any_part_changed_is_refused(make, client_public, change):
    parsed = parse(replace(PUT, **change), make(PUT))
    with pytest.raises(BadSignatureError):
        http_signature.verify_request(parsed, public_key=client_public, now=NOW)


def test_a_signature_without_a_body_does_not_fit_a_request_with_one(make):
    bare = replace(PUT, content_type=None, content_digest=None)
    for signed, sent in ((bare, PUT), (PUT, bare)):
        with pytest.raises(BadSignatureError, match="profile"):
            parse(sent, make(signed))


@pytest.mark.parametrize("half", [{"content_type": None}, {"content_digest": None}], ids=str)
def test_half_a_body_is_refused(make, half):
    with pytest.raises(BadSignatureError, match="come together"):
        make(replace(PUT, **half))
    with pytest.raises(BadSignatureError, match="come together"):
        parse(replace(PUT, **half), make(PUT))


@pytest.mark.parametrize("field", ["method", "authority", "path", "query", "content_type", "content_digest"])
@pytest.mark.parametrize("text", ['x\n"@path": /other', "x\rx", "x\0x", "é", "x ", "x\x7f"], ids=ascii)
def test_a_value_that_could_write_lines_of_its_own_is_refused(make, field, text):
    with pytest.raises(BadSignatureError, match="covered value"):
        make(replace(PUT, **{field: text}))
    with pytest.raises(BadSignatureError, match="covered value"):
        parse(replace(PUT, **{field: text}), make(PUT))


@pytest.mark.parametrize("field", ["method", "authority", "path", "content_type", "content_digest"])
def test_an_empty_value_is_refused(make, field):
    with pytest.raises(BadSignatureError, match="covered value"):
        make(replace(PUT, **{field: ""}))


@BOTH
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sig=(", "sig1=("),
        ("sig=(", " sig=("),
        ('("@method" ', "("),
        ('"@path" "@query"', '"@query" "@path"'),
        ('"@path" "@query"', '"@path"  "@query"'),
        ('"@query" ', '"@query";req '),
        ('"@authority"', '"@authority" "date"'),
        ('"@authority"', '"@authority" "@authority"'),
        (";created=", ";created=0"),
        (";created=", ";created=-"),
        (";created=", "; created="),
        (f"created={NOW}", f"created={NOW}.0"),
        (f"created={NOW}", 'created="1"'),
        (f"created={NOW}", f"created={10**15}"),
        (f";created={NOW}", ""),
        (f";expires={NOW + 120}", ""),
        (f"expires={NOW + 120}", f"expires={NOW}"),
        (f"expires={NOW + 120}", f"expires={NOW - 1}"),
        (f"expires={NOW + 120}", f"expires={NOW + 301}"),
        (';alg="ed25519"', ""),
        ('alg="ed25519"', 'alg="hmac-sha256"'),
        ('alg="ed25519"', "alg=ed25519"),
        (';nonce="AAECAwQFBgcICQoLDA0ODw"', ""),
        ('nonce="AAECAwQFBgcICQoLDA0ODw"', 'nonce=""'),
        ('nonce="AAECAwQFBgcICQoLDA0ODw"', 'nonce="AAECAwQFBgcICQoLDA0ODx"'),
        ('nonce="AAECAwQFBgcICQoLDA0ODw"', 'nonce="AAECAwQFBgcICQoLDA0O"'),
        (';tag="bt-fl-v1"', ""),
        ('tag="bt-fl-v1"', 'tag="bt-fl-v2"'),
        ('tag="bt-fl-v1"', 'tag="bt-fl-v1";x=1'),
        ('tag="bt-fl-v1"', 'tag="bt-fl-v1";tag="bt-fl-v1"'),
        ('tag="bt-fl-v1"', 'tag="bt-fl-v1" '),
        ('tag="bt-fl-v1"', 'tag="bt-fl-v1"\n'),
        ('tag="bt-fl-v1"', 'tag="bt-fl-v1", sig2=()'),
        ("sig=", "sig=(), sig="),
    ],
)
def test_an_input_outside_the_profile_is_refused(make, request_parts, old, new):
    fields = make(request_parts)
    assert fields["Signature-Input"].count(old) == 1
    changed = fields["Signature-Input"].replace(old, new)
    with pytest.raises(BadSignatureError):
        http_signature.parse_signature(request_parts, signature_input=changed, signature=fields["Signature"])


@pytest.mark.parametrize("name", ["kid", "nonce"])
def test_a_key_id_or_nonce_in_other_letters_is_refused(make, client_kid, name):
    fields = make()
    value = {"kid": client_kid, "nonce": "AAECAwQFBgcICQoLDA0ODw"}[name]
    changed = fields["Signature-Input"].replace(value, "+" + value[1:])
    with pytest.raises(BadSignatureError):
        http_signature.parse_signature(PUT, signature_input=changed, signature=fields["Signature"])


def test_a_signature_field_in_another_spelling_is_refused(make):
    fields = make()
    value = fields["Signature"]
    stray = value[:-4] + {"A": "B", "Q": "R", "g": "h", "w": "x"}[value[-4]] + value[-3:]
    assert base64.b64decode(stray[5:-1]) == base64.b64decode(value[5:-1])
    spellings = [
        stray, value.replace("sig=", "sig1="), value.replace("==:", ":"), value + ", " + value, value + " ",
        value.replace("sig=:", 'sig="').replace("==:", '=="'), "", "sig=::",
    ]  # fmt: skip
    for spelling in spellings:
        with pytest.raises(BadSignatureError):
            http_signature.parse_signature(PUT, signature_input=fields["Signature-Input"], signature=spelling)


@given(st.text(max_size=300), st.text(max_size=100))
def test_arbitrary_fields_are_refused(signature_input, signature):
    with pytest.raises(BadSignatureError):
        http_signature.parse_signature(PUT, signature_input=signature_input, signature=signature)


@given(st.data())
def test_a_field_with_one_character_changed_is_refused(client_key, client_kid, client_public, data):
    fields = http_signature.make_signature(PUT, kid=client_kid, sign=client_key.sign, nonce=NONCE, created=NOW)
    name = data.draw(st.sampled_from(sorted(fields)))
    place = data.draw(st.integers(0, len(fields[name]) - 1))
    letter = data.draw(st.characters(min_codepoint=0x20, max_codepoint=0x7E).filter(lambda c: c != fields[name][place]))
    changed = fields | {name: fields[name][:place] + letter + fields[name][place + 1 :]}
    with pytest.raises(BadSignatureError):
        http_signature.verify_request(parse(PUT, changed), public_key=client_public, now=NOW)


def test_another_clients_key_is_refused(make):
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with pytest.raises(BadSignatureError, match="names another key"):
        http_signature.verify_request(parse(PUT, make()), public_key=stranger, now=NOW)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_bytes_that_are_no_key_are_refused(make, key):
    with pytest.raises(BadSignatureError, match="names another key"):
        http_signature.verify_request(parse(PUT, make()), public_key=key, now=NOW)


@pytest.mark.parametrize("now", [NOW - 60, NOW, NOW + 120])
def test_clocks_within_the_skew_are_accepted(make, client_public, now):
    http_signature.verify_request(parse(PUT, make()), public_key=client_public, now=now)


@pytest.mark.parametrize("now", [0, NOW - 61, NOW + 121, NOW + 10**9])
def test_clocks_past_the_skew_are_refused_by_name(make, client_public, now):
    with pytest.raises(ClockSkewError) as refused:
        http_signature.verify_request(parse(PUT, make()), public_key=client_public, now=now)
    assert refused.value.code == "clock_skew"


def test_the_clock_is_not_told_without_a_valid_signature(make, client_public):
    with pytest.raises(BadSignatureError):
        http_signature.verify_request(parse(GET, make(replace(GET, path="/x"))), public_key=client_public, now=0)


@pytest.mark.parametrize(
    "options", [{"nonce": b""}, {"nonce": bytes(15)}, {"lifetime_seconds": 0}, {"lifetime_seconds": 301}], ids=str
)
def test_a_signature_outside_the_profile_is_not_made(make, options):
    with pytest.raises(MalformedMessageError):
        make(**options)


@given(st.binary(min_size=32, max_size=32))
def test_a_digest_comes_back_from_its_field(digest):
    assert http_signature.parse_content_digest(http_signature.content_digest(digest)) == digest


def test_the_digest_field_of_a_known_body():
    digest = hashlib.sha256(b'{"hello": "world"}\n').digest()
    assert http_signature.content_digest(digest) == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


@pytest.mark.parametrize(
    "header",
    [
        "",
        DIGEST.replace("sha-256", "sha-512"),
        DIGEST.replace("sha-256", "SHA-256"),
        DIGEST + ", " + DIGEST,
        DIGEST + " ",
        " " + DIGEST,
        DIGEST.replace("=:", ":", 2).replace("sha-256:", "sha-256=:"),
        "sha-256=:" + "A" * 42 + "B=:",
        "sha-256=:AAAA:",
        DIGEST + "\n",
    ],
)
def test_another_spelling_of_a_digest_is_refused(header):
    with pytest.raises(MalformedMessageError):
        http_signature.parse_content_digest(header)
