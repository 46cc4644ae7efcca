"""What must hold of the parsers, whatever bytes they are given: the codec, the envelope, safetensors.

Only the documented errors come out; what was read is written again as it came, where there is one spelling; time and
memory are bounded by what was given, not by what it claims.
"""

import base64
import hashlib
import io
import json
from datetime import UTC, datetime
from functools import cache

import numpy as np
import safetensors.numpy
from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import strategies as st

from boltz_protocol import codec, encoding, envelope, http_signature, tensors
from boltz_protocol.envelope import EnvelopeError
from boltz_protocol.errors import BadSignatureError, MalformedMessageError
from boltz_protocol.http_signature import RequestParts
from boltz_protocol.messages import Claims, EnvelopeHeader
from boltz_protocol.tensors import Layout, LayoutError, TensorsError
from tests.apps.hostile_envelopes import plain
from tests.fuzz.bounds import attempt
from tests.fuzz.damage import damaged
from tests.fuzz.message_strategies import KINDS, json_values, messages_of

LONGEST_BINARY = 2000
LAYOUT = Layout.of({"bias": np.zeros(1), "hidden/weight": np.zeros((3, 4)), "weight": np.zeros(5)})
CLAIMS = Claims(v=1, examples=60, feature_coverage=1.0, invalid_share=0.0, metrics={"mse": 0.5}, local_noise=None)
FILE = tensors.encode_safetensors(np.arange(LAYOUT.parameters, dtype=np.float32), LAYOUT)
PLAIN = plain(layout=LAYOUT, claims=codec.encode(CLAIMS), data=FILE[-LAYOUT.data_bytes :])


# --- the codec ---


def messages_come_back(data):
    """Every message that the types allow is written, and read again as the same."""
    kind = data.draw(st.sampled_from(KINDS))
    message = data.draw(messages_of(kind))
    raw = codec.encode(message)
    assert codec.decode(raw, kind, max_bytes=len(raw)) == message


def messages_have_one_spelling(data):
    """Bytes are refused as malformed, or are the one spelling of what they mean."""
    kind = data.draw(st.sampled_from(KINDS))
    written = messages_of(kind).map(codec.encode).flatmap(damaged)
    raw = data.draw(written | json_values().map(lenient_json) | st.binary(max_size=LONGEST_BINARY))
    message = attempt(codec.decode, raw, kind, refused=MalformedMessageError, length=len(raw))
    if message is not None:
        assert codec.encode(message) == raw


def json_has_one_spelling(data):
    """Plain JSON values, too."""
    raw = data.draw(json_values().map(lenient_json).flatmap(damaged))
    value = attempt(codec.decode, raw, object, refused=MalformedMessageError, length=len(raw))
    if value is not None:
        assert codec.encode(value) == raw


def base64url_has_one_spelling(data):
    """Texts are refused, or are the one spelling of their bytes."""
    text = data.draw(
        st.text() | st.text("AZaz09-_+/= \n", max_size=40) | st.binary(max_size=40).map(encoding.base64url)
    )
    raw = attempt(encoding.from_base64url, text, refused=MalformedMessageError, length=len(text))
    if raw is not None:
        assert encoding.base64url(raw) == text


def signatures_are_read_or_refused(data):
    """The fields of a signed request are in the profile, or refused as a bad signature."""
    parts = RequestParts(
        method="GET", authority="mesh.example", path="/api/v1/models", query=data.draw(st.text(max_size=9))
    )
    right = http_signature.make_signature(
        RequestParts(method="GET", authority="mesh.example", path="/api/v1/models", query=""),
        kid="k" * 43,
        sign=lambda base: hashlib.sha512(base).digest(),
        nonce=bytes(16),
        created=1_790_000_000,
    )
    fields = [
        data.draw(damaged(right[name].encode("ascii"))).decode("latin-1") for name in ("Signature-Input", "Signature")
    ]
    parsed = attempt(read_signature, parts, *fields, refused=BadSignatureError, length=sum(map(len, fields)))
    if parsed is not None:
        params = fields[0].removeprefix("sig=")
        assert parsed.base.endswith(f'"@signature-params": {params}'.encode("ascii"))
        assert f"sig=:{base64.b64encode(parsed.signature).decode('ascii')}:" == fields[1]


def read_signature(parts, signature_input, signature):
    return http_signature.parse_signature(parts, signature_input=signature_input, signature=signature)


# --- the envelope ---


def heads_have_one_spelling(data):
    """What stands before the stream is refused as malformed, or is the one spelling of what it says."""
    raw = data.draw(damaged(sealed_head()) | st.binary(max_size=LONGEST_BINARY))
    content = io.BytesIO(raw)
    head = attempt(envelope.read_header, content.read, refused=EnvelopeError, length=len(raw))
    if head is not None:
        assert envelope._encode_head(head.header, head.wrapped_key) == raw[: content.tell()]


def only_the_envelope_that_was_sealed_opens(data):
    """An envelope that was damaged anywhere opens nothing."""
    raw = data.draw(damaged(sealed()))
    opened = attempt(open_bytes, raw, refused=(EnvelopeError, LayoutError), length=len(raw))
    assert (opened is not None) == (raw == sealed())


def any_plaintext_is_read_or_refused(data):
    """A client seals whatever it likes, under a header that is whatever it likes: its own fault is all that comes out."""
    content = data.draw(damaged(PLAIN))
    length = data.draw(st.sampled_from((len(content), len(PLAIN), 1, 2**53 - 1)) | st.integers(1, 2 * len(PLAIN)))
    raw = seal(content, length)
    opened = attempt(open_bytes, raw, refused=(EnvelopeError, LayoutError, TensorsError), length=len(raw))
    if opened is not None:
        claims, words = opened
        assert len(words) == LAYOUT.data_bytes
        assert content.startswith(len(codec.encode(claims)).to_bytes(4, "big") + codec.encode(claims))


@cache
def server_key():
    return generate_private_key(65537, 3072)


@cache
def sealed():
    return seal(PLAIN, len(PLAIN))


def sealed_head():
    content = io.BytesIO(sealed())
    envelope.read_header(content.read)
    return sealed()[: content.tell()]


def seal(content, plain_length):
    """An envelope around any plaintext, whose header claims any length."""
    header = EnvelopeHeader(
        v=1,
        suite=1,
        server_kid="s" * 43,
        client_kid="c" * 43,
        client_id="c_7",
        model="boltz-core",
        round=7,
        upload_id="u_42",
        base_sha256="ab" * 32,
        layout_digest=LAYOUT.digest,
        codec="safetensors-f32",
        plain_length=plain_length,
        created_at=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
    )
    content_key = Cobblestone256Encryptor.generate_key()
    head = envelope._encode_head(header, server_key().public_key().encrypt(content_key, envelope._oaep()))
    encryptor = Cobblestone256Encryptor(content_key, hashlib.sha512(head).digest())
    return head + encryptor.update(content) + encryptor.finalize()


def open_bytes(raw):
    """Claims and tensors of an envelope, read to its end."""
    read = io.BytesIO(raw).read
    head = envelope.read_header(read)
    content_key = envelope.unwrap_key(server_key(), head.wrapped_key)
    opened = envelope.open_sealed(head, read, content_key=content_key, layout=LAYOUT)
    return opened.claims, b"".join(bytes(block) for block in opened.blocks())


# --- safetensors ---


def files_are_read_or_refused(data):
    """A file of the layout is read as the safetensors library reads it; any other is refused."""
    header = st.builds(lambda value: lenient_json({"weight": value}), json_values())
    raw = data.draw(damaged(FILE) | header.map(with_length) | st.binary(max_size=LONGEST_BINARY))
    vector = attempt(tensors.decode_safetensors, raw, LAYOUT, refused=TensorsError, length=len(raw))
    if vector is not None:
        read = safetensors.numpy.load(raw)
        assert tensors.flatten(read, LAYOUT).tobytes() == vector.tobytes()
        assert tensors.encode_safetensors(vector, LAYOUT)[-LAYOUT.data_bytes :] == raw[-LAYOUT.data_bytes :]


def with_length(header):
    """A safetensors file with any header, and as many bytes of tensors as there should be."""
    return len(header).to_bytes(8, "little") + header + FILE[-LAYOUT.data_bytes :]


def layouts_are_written_and_read(data):
    """Any list of tensors is refused as no layout, or its files are read again as they were written."""
    specs = data.draw(st.lists(messages_of(tensors.TensorSpec), min_size=1, max_size=4))
    layout = attempt(Layout.from_specs, specs, refused=LayoutError, length=len(codec.encode(specs)))
    if layout is not None:
        tensors.parse_safetensors_header(layout.header[tensors.LENGTH_BYTES :], layout)
        assert layout.header == tensors.safetensors_header(Layout(layout.specs))


PROPERTIES = (
    messages_come_back,
    messages_have_one_spelling,
    json_has_one_spelling,
    base64url_has_one_spelling,
    signatures_are_read_or_refused,
    heads_have_one_spelling,
    only_the_envelope_that_was_sealed_opens,
    any_plaintext_is_read_or_refused,
    files_are_read_or_refused,
    layouts_are_written_and_read,
)


def lenient_json(value):
    """JSON as others may write it: canonical where that is possible, with NaN and too large integers where not."""
    try:
        return codec.encode(value)
    except MalformedMessageError:
        return json.dumps(value).encode()
