import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_protocol import codec
from boltz_protocol.errors import MalformedMessageError
from boltz_protocol.messages import MAX_SAFE_INTEGER, Claims, EnvelopeHeader, Jwk, Problem, TaskSpec, TensorSpec

shares = st.floats(0, 1)
labels = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128)
key_ids = st.text(string.ascii_letters + string.digits + "_-", min_size=43, max_size=43)
identifiers = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=64)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
claims_strategy = st.builds(
    Claims,
    v=st.just(1),
    examples=st.integers(1, MAX_SAFE_INTEGER),
    feature_coverage=shares,
    invalid_share=shares,
    metrics=st.dictionaries(labels, st.floats(allow_nan=False, allow_infinity=False), max_size=16),
    local_noise=st.none() | st.floats(0, 1e300),
)
headers = st.builds(
    EnvelopeHeader,
    v=st.just(1),
    suite=st.just(1),
    server_kid=key_ids,
    client_kid=key_ids,
    client_id=identifiers,
    model=st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=64),
    round=st.integers(1, MAX_SAFE_INTEGER),
    upload_id=identifiers,
    base_sha256=digests,
    layout_digest=digests,
    codec=st.just("safetensors-f32"),
    plain_length=st.integers(1, MAX_SAFE_INTEGER),
    created_at=st.datetimes(timezones=st.just(UTC)),
)
RAW = b'{"name":"bias","shape":[1,2]}'


@given(claims_strategy | headers)
def test_what_was_encoded_is_decoded_again(message):
    assert codec.decode(codec.encode(message), type(message)) == message


@given(claims_strategy, st.data())
def test_changed_bytes_are_refused_or_are_another_message_in_its_one_spelling(message, data):
    raw = bytearray(codec.encode(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = codec.decode(raw, Claims)
    except MalformedMessageError:
        return
    assert codec.encode(decoded) == raw


def test_a_canonical_message_is_accepted():
    assert codec.decode(RAW, TensorSpec) == TensorSpec(name="bias", shape=(1, 2))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name": "bias","shape":[1,2]}',
        b'{"shape":[1,2],"name":"bias"}',
        b'{"name":"bias","name":"bias","shape":[1,2]}',
        b'{"name":"b\\u0069as","shape":[1,2]}',
        b'{"name":"bias","shape":[1,2e0]}',
        b'{"name":"bias","shape":[1,2.0]}',
        RAW + b" ",
        RAW + RAW,
        b"\xef\xbb\xbf" + RAW,
        b'{"name":"bias","shape":[1,2],"dtype":"F32"}',
        b'{"name":"bias"}',
        b'{"name":"bias","shape":[1,true]}',
        b'{"name":"bias","shape":[]}',
        b'{"name":"bias","shape":[0]}',
        b'{"name":"../bias","shape":[1]}',
        b'{"name":"bias\\n","shape":[1]}',
        b'{"name":"bi\xffas","shape":[1]}',
        b'{"name":"bi\\ud800as","shape":[1]}',
        b'{"name":"bias","shape":[99999999999999999999999999]}',
        b'{"name":"bias","shape":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"null",
        b"",
    ],
    ids=[
        "white space", "another order", "a name twice", "an escape", "an exponent", "a fraction", "a trailing space",
        "two messages", "a byte order mark", "an unknown field", "a missing field", "true for 1", "too short a shape",
        "a zero", "a path", "a line break", "not UTF-8", "half a surrogate pair", "a huge number", "nesting", "null",
        "nothing",
    ],
)  # fmt: skip
def test_another_spelling_or_another_shape_is_refused(raw):
    with pytest.raises(MalformedMessageError) as refused:
        codec.decode(raw, TensorSpec)
    assert refused.value.code == "malformed_message"


def test_a_default_left_out_is_refused():
    task = TaskSpec(kind="linear", features=("x",), center=(0.0,), scale=(1.0,), clip=None, target="y", metric="mse")
    raw = codec.encode(task)
    assert codec.decode(raw, TaskSpec) == task
    with pytest.raises(MalformedMessageError, match="canonical"):
        codec.decode(raw.replace(b'"hidden":[],', b""), TaskSpec)


@pytest.mark.parametrize("raw_float", [b"1e999", b"NaN", b"Infinity", b"-0", b"0.10", b"1.0"])
def test_a_float_outside_its_one_spelling_is_refused(raw_float, claims):
    raw = codec.encode(claims)
    assert raw.count(b'"r2":0.47') == 1
    with pytest.raises(MalformedMessageError):
        codec.decode(raw.replace(b'"r2":0.47', b'"r2":' + raw_float), Claims)


def test_a_time_in_another_spelling_is_refused(layout, make_header):
    raw = codec.encode(make_header(layout))
    assert b'"2026-03-01T12:30:00Z"' in raw
    for spelling in (b'"2026-03-01T12:30:00.000Z"', b'"2026-03-01t12:30:00z"', b'"2026-03-01T12:30:00"'):
        with pytest.raises(MalformedMessageError):
            codec.decode(raw.replace(b'"2026-03-01T12:30:00Z"', spelling), EnvelopeHeader)


def test_a_message_past_the_limit_is_refused_before_it_is_parsed():
    with pytest.raises(MalformedMessageError, match="the limit is 10"):
        codec.decode(b"not even JSON", TensorSpec, max_bytes=10)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800", object()])
def test_what_json_cannot_carry_exactly_is_not_encoded(value):
    with pytest.raises(MalformedMessageError):
        codec.encode({"value": value})


def test_the_key_order_is_that_of_rfc_8785():
    assert codec.encode({"b": 1, "a": [True, None, "é"], "\U0001f600": 1, "\ufb33": 2}) == (
        '{"a":[true,null,"é"],"b":1,"\U0001f600":1,"\ufb33":2}'.encode()
    )


def test_a_field_renamed_on_the_wire_comes_back_under_its_own_name():
    problem = Problem(kind="about:blank", title="Conflict", status=409, detail="sealed", code="round_sealed")
    assert b'"type":"about:blank"' in codec.encode(problem)
    assert codec.decode(codec.encode(problem), Problem) == problem


def test_a_naive_time_is_refused(client_kid):
    jwk = Jwk(
        kid=client_kid, kty="OKP", use="sig", alg="EdDSA", state="current",
        not_before=datetime(2026, 1, 1), not_after=None, crv="Ed25519", x="AA",
    )  # fmt: skip
    with pytest.raises(MalformedMessageError):
        codec.decode(codec.encode(jwk), Jwk)
