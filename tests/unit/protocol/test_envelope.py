import io
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from boltz_protocol import codec, envelope, tensors
from boltz_protocol.envelope import EnvelopeError
from boltz_protocol.messages import Claims
from boltz_protocol.tensors import Layout, LayoutError, TensorsError

# Around the edges of a chunk (4096 numbers) and of a block (16 chunks sealed, 15 opened at a time).
SIZES = [1, 2, 3, 4000, 4095, 4096, 4097, 8192, 61_440, 65_536, 65_537, 200_003]


def vector_of(layout):
    return np.arange(layout.parameters, dtype=np.float32) - 5


def open_bytes(raw, layout, server_key, *, read_bytes=None):
    """Open an envelope to its end; reads give at most `read_bytes` at once."""
    stream = io.BytesIO(raw)

    def read(count):
        return stream.read(count if read_bytes is None else min(count, read_bytes))

    head = envelope.read_header(read)
    content_key = envelope.unwrap_key(server_key, head.wrapped_key)
    opened = envelope.open_sealed(head, read, content_key=content_key, layout=layout)
    return opened, b"".join(bytes(block) for block in opened.blocks())


def refuse(raw, layout, server_key, code):
    with pytest.raises(EnvelopeError) as refused:
        open_bytes(raw, layout, server_key)
    assert refused.value.code == code


@pytest.fixture(scope="module")
def seal(make_header, claims, server_key):
    def seal(layout, *, claims=claims, vector=None, **changes):
        changes.setdefault("plain_length", envelope.plain_length(claims, layout))
        out = bytearray()
        envelope.seal(
            make_header(layout, **changes),
            claims,
            vector_of(layout) if vector is None else vector,
            layout,
            server_key=server_key.public_key(),
            write=out.extend,
        )
        return bytes(out)

    return seal


@pytest.fixture(scope="module")
def seal_plain(make_header, server_key):
    """Seal arbitrary plaintext the way a hostile client would, with a header of its own making."""

    def seal_plain(plain, layout, **changes):
        header = make_header(layout, **{"plain_length": len(plain), **changes})
        content_key = Cobblestone256Encryptor.generate_key()
        head = envelope._encode_head(header, server_key.public_key().encrypt(content_key, envelope._oaep()))
        context = envelope.read_header(io.BytesIO(head).read).context
        encryptor = Cobblestone256Encryptor(content_key, context)
        return head + encryptor.update(plain) + encryptor.finalize()

    return seal_plain


def part(data):
    return len(data).to_bytes(4, "big") + data


@pytest.fixture(scope="module")
def sealed(seal, layout):
    return seal(layout)


@pytest.fixture(scope="module")
def edges(sealed, server_key):
    """Where each region of `sealed` begins, and its end."""
    header_start = 8
    header_end = header_start + int.from_bytes(sealed[4:8], "big")
    stream = header_end + 2 + server_key.key_size // 8
    return {
        "magic": 0, "header length": 4, "header": header_start, "wrapped length": header_end,
        "wrapped key": header_end + 2, "salt": stream, "commitment": stream + 24, "chunk": stream + 56,
        "tag": len(sealed) - 16, "end": len(sealed),
    }  # fmt: skip


# --- the way there and back ---


@pytest.mark.parametrize("size", SIZES)
def test_an_update_comes_back_from_its_envelope(seal, claims, server_key, make_header, size):
    layout = Layout.of({"weight": np.zeros(size), "bias": np.zeros(1)})
    opened, data = open_bytes(seal(layout), layout, server_key)
    assert data == vector_of(layout).tobytes()
    assert opened.claims == claims
    assert opened.header == make_header(layout)


@pytest.mark.parametrize("read_bytes", [1, 7, 56, 16_399, 16_400, 16_401, 100_000])
def test_reads_of_any_size_give_the_same(seal, server_key, read_bytes):
    size = 3 if read_bytes == 1 else 65_537
    layout = Layout.of({"weight": np.zeros(size)})
    _, data = open_bytes(seal(layout), layout, server_key, read_bytes=read_bytes)
    assert data == vector_of(layout).tobytes()


@given(size=st.integers(1, 9000), label=st.text("abc", min_size=1, max_size=40), read_bytes=st.integers(50, 40_000))
def test_claims_of_any_length_leave_the_words_whole(seal, server_key, size, label, read_bytes):
    layout = Layout.of({"w": np.zeros(size)})
    claims = Claims(v=1, examples=1, feature_coverage=0.5, invalid_share=0.5, metrics={label: 0.125}, local_noise=1.5)
    opened, data = open_bytes(seal(layout, claims=claims), layout, server_key, read_bytes=read_bytes)
    assert (opened.claims, data) == (claims, vector_of(layout).tobytes())


def test_blocks_are_aligned_whole_words_in_one_buffer(seal, server_key):
    layout = Layout.of({"weight": np.zeros(300_001)})
    stream = io.BytesIO(seal(layout))
    head = envelope.read_header(stream.read)
    content_key = envelope.unwrap_key(server_key, head.wrapped_key)
    opened = envelope.open_sealed(head, stream.read, content_key=content_key, layout=layout)
    lengths, addresses = [], set()
    for block in opened.blocks():
        numbers = np.frombuffer(block, "<f4")
        assert isinstance(block, memoryview)
        assert numbers.flags.aligned
        lengths.append(numbers.nbytes)
        addresses.add(numbers.ctypes.data)
    assert sum(lengths) == layout.data_bytes
    assert max(lengths) <= envelope.BLOCK_BYTES
    assert len(lengths) >= 4
    assert len(addresses) == 1


def test_the_blocks_can_be_read_once(sealed, layout, server_key):
    opened, _ = open_bytes(sealed, layout, server_key)
    with pytest.raises(RuntimeError):
        next(opened.blocks())


def test_what_is_written_is_as_long_as_was_said(seal, make_header, server_key):
    for size in SIZES:
        layout = Layout.of({"weight": np.zeros(size)})
        length = len(seal(layout))
        assert envelope.sealed_length(make_header(layout), server_key=server_key.public_key()) == length
        assert length <= envelope.max_envelope_bytes(layout)


def test_a_vector_that_is_not_contiguous_is_sealed_as_its_elements(seal, layout, server_key):
    vector = np.arange(26, dtype=np.float32)[::2]
    _, data = open_bytes(seal(layout, vector=vector), layout, server_key)
    assert data == vector.tobytes()


def test_two_envelopes_of_one_update_share_neither_key_nor_stream(sealed, seal, layout, edges):
    again = seal(layout)
    assert again[: edges["wrapped key"]] == sealed[: edges["wrapped key"]]
    for first, second in pairwise(["wrapped key", "salt", "commitment", "chunk", "end"]):
        assert again[edges[first] : edges[second]] != sealed[edges[first] : edges[second]]


def test_memory_does_not_grow_with_the_model(make_header, claims, server_key):
    def peak(size):
        layout = Layout.of({"weight": np.zeros(1)})
        layout = Layout.from_specs([replace(layout.specs[0], shape=(size,))])
        vector = np.zeros(size, np.float32)
        sealed = io.BytesIO(bytes(envelope.sealed_length(make_header(layout), server_key=server_key.public_key())))
        tracemalloc.start()
        envelope.seal(
            make_header(layout), claims, vector, layout, server_key=server_key.public_key(), write=sealed.write
        )
        sealed.seek(0)
        head = envelope.read_header(sealed.read)
        content_key = envelope.unwrap_key(server_key, head.wrapped_key)
        opened = envelope.open_sealed(head, sealed.read, content_key=content_key, layout=layout)
        total = sum(len(block) for block in opened.blocks())
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total == layout.data_bytes
        return peak_bytes

    peak(200_000)  # what is allocated once
    assert peak(4_000_000) < peak(400_000) + 100_000


# --- what is not sealed ---


def test_a_header_that_does_not_fit_the_update_is_not_sealed(seal, layout, claims):
    for changes in ({"plain_length": envelope.plain_length(claims, layout) + 1}, {"layout_digest": "0" * 64}):
        with pytest.raises(EnvelopeError, match="not those of the update"):
            seal(layout, **changes)


def test_a_vector_of_another_layout_is_not_sealed(seal, layout):
    for vector in (np.zeros(12, np.float32), np.zeros(13)):
        with pytest.raises(LayoutError):
            seal(layout, vector=vector)


def test_claims_past_the_limit_are_not_sealed(seal, layout, claims):
    long = replace(claims, metrics={f"{number:0100}": 0.0 for number in range(160)})
    with pytest.raises(EnvelopeError) as refused:
        seal(layout, claims=long)
    assert refused.value.code == "malformed_claims"


# --- damage ---


@pytest.mark.parametrize(
    ("region", "code"),
    [
        ("magic", "malformed_envelope"),
        ("header length", "malformed_envelope"),
        ("header", "malformed_envelope"),
        ("wrapped length", "malformed_envelope"),
        ("wrapped key", "malformed_envelope"),
        ("salt", "undecryptable"),
        ("commitment", "undecryptable"),
        ("chunk", "undecryptable"),
        ("tag", "undecryptable"),
    ],
)
def test_an_envelope_cut_at_the_start_of_a_region_or_inside_it_is_refused(
    sealed, layout, server_key, edges, region, code
):
    for extra in (0, 1):
        refuse(sealed[: edges[region] + extra], layout, server_key, code)


def test_an_envelope_without_its_last_byte_is_refused(sealed, layout, server_key):
    refuse(sealed[:-1], layout, server_key, "undecryptable")


def test_an_envelope_cut_between_two_chunks_is_refused_only_at_the_end(seal, server_key):
    layout = Layout.of({"weight": np.zeros(20_000)})
    raw = seal(layout)
    stream = len(raw) - envelope._stream_length(envelope.read_header(io.BytesIO(raw).read).header.plain_length)
    for chunks in (1, 2, 3, 4):
        refuse(raw[: stream + 56 + chunks * (16 * 1024 + 16)], layout, server_key, "undecryptable")


@pytest.mark.parametrize("extra", [b"\0", b"BTE1", bytes(16), bytes(20_000)], ids=len)
def test_bytes_after_the_end_are_refused(sealed, layout, server_key, extra):
    refuse(sealed + extra, layout, server_key, "undecryptable")


@pytest.mark.parametrize(
    ("region", "code"),
    [
        ("magic", "malformed_envelope"),
        ("header length", "malformed_envelope"),
        ("wrapped key", "undecryptable"),
        ("salt", "undecryptable"),
        ("commitment", "undecryptable"),
        ("chunk", "undecryptable"),
        ("tag", "undecryptable"),
    ],
)
def test_a_flipped_bit_in_a_region_is_refused(sealed, layout, server_key, edges, region, code):
    for bit in (0x01, 0x80):
        damaged = bytearray(sealed)
        damaged[edges[region]] ^= bit
        refuse(damaged, layout, server_key, code)


@given(st.data())
def test_a_flipped_bit_anywhere_is_refused(sealed, layout, server_key, data):
    damaged = bytearray(sealed)
    damaged[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((EnvelopeError, LayoutError)):
        open_bytes(damaged, layout, server_key)


def test_each_byte_of_the_header_is_bound_to_the_stream(sealed, layout, server_key, edges):
    codes = set()
    for place in range(edges["header"], edges["wrapped length"]):
        damaged = bytearray(sealed)
        damaged[place] ^= 0x01
        with pytest.raises((EnvelopeError, LayoutError)) as refused:
            open_bytes(damaged, layout, server_key)
        codes.add(refused.value.code)
    # Some flips leave a header that is well-formed: only the context catches those.
    assert codes == {"malformed_envelope", "layout_mismatch", "undecryptable"}


def test_two_swapped_chunks_are_refused(seal, server_key):
    layout = Layout.of({"weight": np.zeros(20_000)})
    raw = seal(layout)
    start = len(raw) - envelope._stream_length(envelope.read_header(io.BytesIO(raw).read).header.plain_length) + 56
    size = 16 * 1024 + 16
    first, second = raw[start : start + size], raw[start + size : start + 2 * size]
    refuse(raw[:start] + second + first + raw[start + 2 * size :], layout, server_key, "undecryptable")


# --- things moved to another place ---


@pytest.mark.parametrize(
    "changes",
    [
        {"round": 8},
        {"model": "boltz-other"},
        {"client_id": "c_8"},
        {"client_kid": "A" * 43},
        {"server_kid": "A" * 43},
        {"upload_id": "u_43"},
        {"base_sha256": "cd" * 32},
    ],
    ids=str,
)
def test_a_header_moved_in_front_of_another_update_opens_nothing(sealed, seal, layout, server_key, edges, changes):
    other = seal(layout, **changes)
    other_header_end = 8 + int.from_bytes(other[4:8], "big")
    refuse(other[:other_header_end] + sealed[edges["wrapped length"] :], layout, server_key, "undecryptable")


def test_a_wrapped_key_moved_to_another_envelope_opens_nothing(sealed, seal, layout, server_key, edges):
    other = seal(layout)
    key = slice(edges["wrapped key"], edges["salt"])
    refuse(sealed[: key.start] + other[key] + sealed[key.stop :], layout, server_key, "undecryptable")


def test_a_wrapped_key_and_stream_moved_behind_another_header_open_nothing(sealed, seal, layout, server_key, edges):
    later = seal(layout, round=8)
    end = edges["wrapped length"]
    assert later[4:8] == sealed[4:8]
    refuse(later[:end] + sealed[end:], layout, server_key, "undecryptable")


def test_the_same_content_key_wrapped_anew_opens_nothing(sealed, layout, server_key, edges):
    key = slice(edges["wrapped key"], edges["salt"])
    content_key = envelope.unwrap_key(server_key, sealed[key])
    again = server_key.public_key().encrypt(content_key, envelope._oaep())
    refuse(sealed[: key.start] + again + sealed[key.stop :], layout, server_key, "undecryptable")


# --- keys ---


def test_every_failure_to_unwrap_reads_like_a_bad_tag(sealed, layout, server_key, edges):
    public_key = server_key.public_key()
    wrapped = [
        bytes(384),
        b"\xff" * 384,
        bytes(383),
        b"",
        public_key.encrypt(bytes(32), PKCS1v15()),
        public_key.encrypt(bytes(32), OAEP(mgf=MGF1(SHA512()), algorithm=SHA512(), label=None)),
        public_key.encrypt(bytes(32), OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=b"label")),
        public_key.encrypt(bytes(31), envelope._oaep()),
        public_key.encrypt(bytes(33), envelope._oaep()),
        public_key.encrypt(b"", envelope._oaep()),
        generate_private_key(65537, 3072).public_key().encrypt(bytes(32), envelope._oaep()),
    ]
    said = set()
    for candidate in wrapped:
        with pytest.raises(EnvelopeError) as refused:
            envelope.unwrap_key(server_key, candidate)
        said.add((refused.value.code, refused.value.message))
    with pytest.raises(EnvelopeError) as refused:
        open_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]), layout, server_key)
    said.add((refused.value.code, refused.value.message))
    assert said == {("undecryptable", "the envelope cannot be opened")}


def test_a_larger_server_key_works_too(make_header, claims, layout):
    key = generate_private_key(65537, 4096)
    header = make_header(layout)
    out = io.BytesIO()
    envelope.seal(header, claims, vector_of(layout), layout, server_key=key.public_key(), write=out.write)
    assert len(out.getvalue()) == envelope.sealed_length(header, server_key=key.public_key())
    _, data = open_bytes(out.getvalue(), layout, key)
    assert data == vector_of(layout).tobytes()


# --- heads that lie ---


@pytest.mark.parametrize("length", [4097, 2**20, 2**31, 2**32 - 1])
def test_a_header_length_past_the_limit_is_refused_before_it_is_read(length):
    raw = io.BytesIO(b"BTE1" + length.to_bytes(4, "big") + bytes(8192))
    with pytest.raises(EnvelopeError, match="the limit is 4096"):
        envelope.read_header(raw.read)
    assert raw.tell() == 8


@pytest.mark.parametrize("length", [0, 256, 383, 1025, 65535])
def test_a_wrapped_key_of_an_impossible_length_is_refused_before_it_is_read(layout, make_header, length):
    header = codec.encode(make_header(layout))
    raw = io.BytesIO(b"BTE1" + part(header) + length.to_bytes(2, "big") + bytes(70_000))
    with pytest.raises(EnvelopeError, match="RSA-3072"):
        envelope.read_header(raw.read)
    assert raw.tell() == 10 + len(header)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"suite":1', b'"suite":2'),
        (b'"v":1', b'"v":2'),
        (b'"round":7', b'"round": 7'),
        (b'"round":7', b'"round":0'),
        (b'"round":7', b'"round":7,"x":1'),
        (b'"codec":"safetensors-f32"', b'"codec":"pickle"'),
        (b'"model":"boltz-core"', b'"model":"../x"'),
    ],
)
def test_a_header_that_is_not_in_its_one_form_is_refused(layout, make_header, old, new):
    header = codec.encode(make_header(layout))
    assert header.count(old) == 1
    raw = b"BTE1" + part(header.replace(old, new)) + (384).to_bytes(2, "big") + bytes(384)
    with pytest.raises(EnvelopeError) as refused:
        envelope.read_header(io.BytesIO(raw).read)
    assert refused.value.code == "malformed_envelope"


def test_the_magic_is_checked_before_anything_else():
    raw = io.BytesIO(b"BTE2" + bytes(100))
    with pytest.raises(EnvelopeError, match="BTE1"):
        envelope.read_header(raw.read)
    assert raw.tell() == 4


# --- plaintext that lies, sealed by whoever holds the public key ---


@pytest.fixture(scope="module")
def pieces(claims, layout):
    """Claims, safetensors header and data of a good update."""
    return (
        part(codec.encode(claims)),
        tensors.safetensors_header(layout),
        vector_of(layout).tobytes(),
    )


def test_a_plaintext_put_together_by_hand_opens(seal_plain, pieces, layout, server_key):
    _, data = open_bytes(seal_plain(b"".join(pieces), layout), layout, server_key)
    assert data == pieces[2]


@pytest.mark.parametrize("length", [16_385, 2**20, 2**32 - 1])
def test_claims_past_their_limit_are_refused(seal_plain, pieces, layout, server_key, length):
    plain = length.to_bytes(4, "big") + b"x" * min(length, 2**20) + pieces[1] + pieces[2]
    assert len(plain) <= envelope._max_plain_length(layout)
    refuse(seal_plain(plain, layout), layout, server_key, "malformed_envelope")


def test_a_megabyte_of_claims_past_the_largest_plain_length_is_refused_unread(seal_plain, pieces, layout, server_key):
    plain = part(b"x" * (2**20 + 20_000)) + pieces[1] + pieces[2]
    raw = io.BytesIO(seal_plain(plain, layout))
    head = envelope.read_header(raw.read)
    at_stream = raw.tell()
    with pytest.raises(EnvelopeError, match="plain length"):
        envelope.open_sealed(
            head, raw.read, content_key=envelope.unwrap_key(server_key, head.wrapped_key), layout=layout
        )
    assert raw.tell() == at_stream


@pytest.mark.parametrize(
    "raw_claims",
    [b"", b"{}", b"[]", b"null", b"\xff", b'{"v":1}', b"[" * 16_000, b'{"examples": 1}'],
    ids=["empty", "no fields", "a list", "null", "not UTF-8", "few fields", "nesting", "a space"],
)
def test_claims_that_are_none_are_refused_by_name(seal_plain, pieces, layout, server_key, raw_claims):
    refuse(seal_plain(part(raw_claims) + pieces[1] + pieces[2], layout), layout, server_key, "malformed_claims")


@pytest.mark.parametrize("plain", [b"\0", b"\0\0\0", b"\0\0\0\1", b"\0\0\0\2x"], ids=["1", "3", "4", "5"])
def test_a_plaintext_too_short_for_what_it_announces_is_refused(seal_plain, layout, server_key, plain):
    refuse(seal_plain(plain, layout), layout, server_key, "malformed_envelope")


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**20 + 1])
def test_a_safetensors_header_past_the_limit_is_refused(seal_plain, pieces, layout, server_key, length):
    plain = pieces[0] + length.to_bytes(8, "little") + pieces[1][8:] + pieces[2]
    refuse(seal_plain(plain, layout), layout, server_key, "malformed_envelope")


@pytest.mark.parametrize("change", [-8, -4, -1, 1, 4, 8])
def test_tensors_that_are_too_short_or_too_long_are_refused(seal_plain, pieces, layout, server_key, change):
    data = pieces[2][:change] if change < 0 else pieces[2] + bytes(change)
    refuse(seal_plain(pieces[0] + pieces[1] + data, layout), layout, server_key, "malformed_envelope")


@pytest.mark.parametrize("change", [-4, 4, -1, 1])
def test_a_plain_length_that_is_not_that_of_the_stream_is_refused(seal_plain, pieces, layout, server_key, change):
    plain = b"".join(pieces)
    raw = seal_plain(plain, layout, plain_length=len(plain) + change)
    with pytest.raises(EnvelopeError):
        open_bytes(raw, layout, server_key)


def test_a_plain_length_that_promises_a_gigabyte_allocates_nothing(seal_plain, pieces, layout, server_key):
    large = Layout.from_specs([replace(spec, shape=(2**28,)) for spec in layout.specs])
    raw = seal_plain(b"".join(pieces), large, plain_length=envelope._max_plain_length(large))
    tracemalloc.start()
    refuse(raw, large, server_key, "undecryptable")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_safetensors_header_of_another_writer_is_accepted(seal_plain, pieces, layout, server_key):
    text = b'{ "weight" : {"dtype":"F32","shape":[12],"data_offsets":[4,52]},\n'
    text += b'"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}, "__metadata__":{"by":"me"}}'
    plain = pieces[0] + len(text).to_bytes(8, "little") + text + pieces[2]
    _, data = open_bytes(seal_plain(plain, layout), layout, server_key)
    assert data == pieces[2]


def test_the_largest_safetensors_header_is_accepted(seal_plain, pieces, layout, server_key):
    text = pieces[1][8:] + b" " * (2**20 - len(pieces[1][8:]))
    plain = pieces[0] + len(text).to_bytes(8, "little") + text + pieces[2]
    raw = seal_plain(plain, layout)
    _, data = open_bytes(raw, layout, server_key)
    assert data == pieces[2]
    assert len(raw) <= envelope.max_envelope_bytes(layout)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"F32", b"I32", "wrong_dtype"),
        (b'"bias"', b'"bibs"', "wrong_layout"),
        (b"[12]", b"[13]", "malformed_tensors"),
        (b"[0,4]", b"[4,0]", "malformed_tensors"),
        (b'"weight"', b'"bias"  ', "malformed_tensors"),
    ],
)
def test_a_safetensors_header_that_lies_is_refused(seal_plain, pieces, layout, server_key, old, new, code):
    assert old in pieces[1]
    raw = seal_plain(pieces[0] + pieces[1].replace(old, new, 1) + pieces[2], layout)
    with pytest.raises(TensorsError) as refused:
        open_bytes(raw, layout, server_key)
    assert refused.value.code == code


def test_an_envelope_for_another_layout_is_refused(sealed, server_key):
    other = Layout.of({"weight": np.zeros(12), "bios": np.zeros(1)})
    with pytest.raises(LayoutError, match="another layout"):
        open_bytes(sealed, other, server_key)


def test_no_block_counts_before_the_last_tag_is_checked(seal, server_key):
    layout = Layout.of({"weight": np.zeros(200_000)})
    raw = bytearray(seal(layout))
    raw[-1] ^= 1
    stream = io.BytesIO(raw)
    head = envelope.read_header(stream.read)
    content_key = envelope.unwrap_key(server_key, head.wrapped_key)
    blocks = envelope.open_sealed(head, stream.read, content_key=content_key, layout=layout).blocks()
    seen = []
    with pytest.raises(EnvelopeError) as refused:
        seen.extend(len(block) for block in blocks)
    assert refused.value.code == "undecryptable"
    assert 0 < sum(seen) < layout.data_bytes
