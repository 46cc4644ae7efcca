"""Seal and open an update: RSA for the key, AES-256-GCM in chunks for the content, all bound to one place.

    "BTE1" | u32 length | header | u16 length | wrapped key | Cobblestone-256 stream          integers big-endian
    stream  = u32 length | claims (canonical JSON) | safetensors of the model's layout        encrypted
    context = SHA-512 of every byte before the stream

The context goes into the stream's key derivation: a wrapped key or a header moved to another round, model or client
opens nothing. Plaintext counts only when `OpenedEnvelope.blocks` has come to its end: truncation shows only there. A
bad unwrap, a bad tag and a wrong length all read `undecryptable` (no oracle). Memory is one reused block of 256 KiB,
whatever the size of the model.

Left to others: whether the header's place is the right one (the server compares it with path, key and client), what the
claims say and whether the numbers are sane (boltz_core.ingest), replays (upload ids).

Sources: RFC 8017 section 7.1 (RSAES-OAEP); C2SP chunked-encryption (Cobblestone-256).
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from boltz_protocol import codec
from boltz_protocol.errors import MalformedMessageError, SenderError
from boltz_protocol.messages import Claims, EnvelopeHeader
from boltz_protocol.tensors import (
    ITEM_BYTES,
    LENGTH_BYTES,
    MAX_SAFETENSORS_HEADER_BYTES,
    Float32Vector,
    Layout,
    LayoutError,
    parse_safetensors_header,
    safetensors_header,
    vector_bytes,
)

MAGIC = b"BTE1"
MAX_HEADER_BYTES = 4096
MAX_CLAIMS_BYTES = 16384
MIN_WRAPPED_KEY_BYTES = 384  # RSA-3072
MAX_WRAPPED_KEY_BYTES = 1024
CONTENT_KEY_BYTES = 32
BLOCK_BYTES = 256 * 1024

_HEADER_LENGTH_BYTES = 4
_WRAPPED_LENGTH_BYTES = 2
_CLAIMS_LENGTH_BYTES = 4
_CHUNK_BYTES = 16 * 1024
_TAG_BYTES = 16
_STREAM_PREFIX_BYTES = 56  # salt and key commitment
_SEALED_CHUNK_BYTES = _CHUNK_BYTES + _TAG_BYTES
# Whole sealed chunks in each read but the first, so that the decryptor need not keep and copy parts of chunks.
_READ_BYTES = BLOCK_BYTES // _SEALED_CHUNK_BYTES * _SEALED_CHUNK_BYTES
_FIRST_READ_BYTES = _STREAM_PREFIX_BYTES + _READ_BYTES

Read = Callable[[int], bytes]
Write = Callable[[memoryview | bytes], object]


class EnvelopeError(SenderError):
    """An envelope that is none, or cannot be opened. Codes: malformed_envelope, undecryptable, malformed_claims."""

    default_code = "malformed_envelope"


@dataclass(frozen=True)
class SealedHead:
    """Everything before the stream; authentic only once the stream has opened."""

    header: EnvelopeHeader
    wrapped_key: bytes
    context: bytes


def plain_length(claims: Claims, layout: Layout) -> int:
    """The bytes inside an envelope that we seal: the header's `plain_length`."""
    return len(_plain_prefix(claims, layout)) + layout.data_bytes


def sealed_length(header: EnvelopeHeader, *, server_key: RSAPublicKey) -> int:
    """The bytes of the whole envelope that `seal` writes for this header."""
    wrapped_key_bytes = (server_key.key_size + 7) // 8
    head = len(MAGIC) + _HEADER_LENGTH_BYTES + len(codec.encode(header)) + _WRAPPED_LENGTH_BYTES + wrapped_key_bytes
    return head + _stream_length(header.plain_length)


def max_envelope_bytes(layout: Layout) -> int:
    """The longest envelope that can hold an update of this layout; more is refused before the body is read."""
    head = len(MAGIC) + _HEADER_LENGTH_BYTES + MAX_HEADER_BYTES + _WRAPPED_LENGTH_BYTES + MAX_WRAPPED_KEY_BYTES
    return head + _stream_length(_max_plain_length(layout))


def seal(
    header: EnvelopeHeader,
    claims: Claims,
    vector: Float32Vector,
    layout: Layout,
    *,
    server_key: RSAPublicKey,
    write: Write,
) -> None:
    """Seal an update under a fresh content key, writing it out block by block.

    Args:
        header: where the update belongs; its `plain_length` and `layout_digest` must be right.
        claims: what the client says about it.
        vector: float32, the layout's length.
        layout: the model's.
        server_key: the key that the header's `server_kid` names.
        write: takes each piece; it is a view of a reused buffer and must be used up before `write` returns.

    Raises:
        EnvelopeError: a header that does not fit the content, or claims past 16 KiB.
        LayoutError: a vector that does not fit the layout.
    """
    data = vector_bytes(vector, layout)
    prefix = _plain_prefix(claims, layout)
    if header.plain_length != len(prefix) + len(data) or header.layout_digest != layout.digest:
        raise EnvelopeError("plain_length or layout_digest of the header are not those of the update")
    content_key = Cobblestone256Encryptor.generate_key()
    head = _encode_head(header, server_key.encrypt(content_key, _oaep()))
    encryptor = Cobblestone256Encryptor(content_key, hashlib.sha512(head).digest())
    # The vector's first bytes fill the prefix up to a whole chunk; all that follows is encrypted from where it lies.
    gap = -len(prefix) % _CHUNK_BYTES
    lead = prefix + data[:gap]
    buffer = memoryview(bytearray(_STREAM_PREFIX_BYTES + BLOCK_BYTES // _CHUNK_BYTES * _SEALED_CHUNK_BYTES))
    write(head)
    for plain in (memoryview(lead), data[gap:]):
        for start in range(0, len(plain), BLOCK_BYTES):
            write(buffer[: encryptor.update_into(plain[start : start + BLOCK_BYTES], buffer)])
    write(encryptor.finalize())


def read_header(read: Read) -> SealedHead:
    """Read everything before the stream; it is untrusted, and stays so until the stream has opened.

    Raises:
        EnvelopeError: `malformed_envelope`.
    """
    magic = _read_exactly(read, len(MAGIC))
    if magic != MAGIC:
        raise EnvelopeError("an envelope begins with BTE1")
    raw_header_length = _read_exactly(read, _HEADER_LENGTH_BYTES)
    header_length = int.from_bytes(raw_header_length, "big")
    if header_length > MAX_HEADER_BYTES:
        raise EnvelopeError(f"a header of {header_length} bytes; the limit is {MAX_HEADER_BYTES}")
    raw_header = _read_exactly(read, header_length)
    raw_wrapped_length = _read_exactly(read, _WRAPPED_LENGTH_BYTES)
    wrapped_length = int.from_bytes(raw_wrapped_length, "big")
    if not MIN_WRAPPED_KEY_BYTES <= wrapped_length <= MAX_WRAPPED_KEY_BYTES:
        raise EnvelopeError(f"a wrapped key of {wrapped_length} bytes; RSA-3072 makes {MIN_WRAPPED_KEY_BYTES}")
    wrapped_key = _read_exactly(read, wrapped_length)
    try:
        header = codec.decode(raw_header, EnvelopeHeader, max_bytes=MAX_HEADER_BYTES)
    except MalformedMessageError as error:
        raise EnvelopeError(error.message) from error
    head = b"".join((magic, raw_header_length, raw_header, raw_wrapped_length, wrapped_key))
    return SealedHead(header=header, wrapped_key=wrapped_key, context=hashlib.sha512(head).digest())


def unwrap_key(private_key: RSAPrivateKey, wrapped: bytes) -> bytes:
    """The content key of an envelope (RSA-OAEP, SHA-256 for hash and MGF1, no label).

    Raises:
        EnvelopeError: `undecryptable`.
    """
    try:
        content_key = private_key.decrypt(wrapped, _oaep())
    except ValueError as error:
        raise _undecryptable() from error
    if len(content_key) != CONTENT_KEY_BYTES:
        raise _undecryptable()
    return content_key


def open_sealed(head: SealedHead, read: Read, *, content_key: bytes, layout: Layout) -> "OpenedEnvelope":
    """Open the stream as far as the first tensor byte: claims read, safetensors header checked.

    Args:
        head: from `read_header`, on the same `read`.
        read: gives up to as many bytes as asked for, and none at the end.
        content_key: from `unwrap_key`.
        layout: the model's.

    Raises:
        EnvelopeError: `undecryptable` for a bad tag or a stream that is too short; `malformed_envelope` when lengths
            disagree; `malformed_claims`.
        TensorsError: the safetensors header is not the layout's.
        LayoutError: the envelope's header names another layout.
    """
    header = head.header
    if header.layout_digest != layout.digest:
        raise LayoutError("the envelope is for another layout than the model's")
    if header.plain_length > _max_plain_length(layout):
        raise EnvelopeError(f"a plain length of {header.plain_length}; the limit is {_max_plain_length(layout)}")
    stream = _PlainStream(read, content_key=content_key, context=head.context, length=header.plain_length)
    claims_length = stream.take_length(_CLAIMS_LENGTH_BYTES, "big", limit=MAX_CLAIMS_BYTES)
    try:
        claims = codec.decode(stream.take(claims_length), Claims, max_bytes=MAX_CLAIMS_BYTES)
    except MalformedMessageError as error:
        raise EnvelopeError(error.message, code="malformed_claims") from error
    tensors_header_length = stream.take_length(LENGTH_BYTES, "little", limit=MAX_SAFETENSORS_HEADER_BYTES)
    prefix_length = _CLAIMS_LENGTH_BYTES + claims_length + LENGTH_BYTES + tensors_header_length
    if header.plain_length != prefix_length + layout.data_bytes:
        raise EnvelopeError("the plain length is not that of the claims and the model's tensors")
    parse_safetensors_header(stream.take(tensors_header_length), layout)
    return OpenedEnvelope(header, claims, stream)


class OpenedEnvelope:
    """An envelope whose claims and safetensors header have been read, and whose tensors are about to be."""

    def __init__(self, header: EnvelopeHeader, claims: Claims, stream: "_PlainStream") -> None:
        self.header = header
        self.claims = claims
        self._stream = stream

    def blocks(self) -> Iterator[memoryview]:
        """The tensors' bytes, once: whole, aligned, little-endian float32 in blocks of up to 256 KiB.

        Each block is a view of one reused buffer, good until the next is asked for. Nothing that was yielded counts
        before the iterator has come to its end.

        Raises:
            EnvelopeError: `undecryptable`: a bad tag, or a stream that is shorter or longer than its header says.
        """
        return self._stream.words()


class _PlainStream:
    """The plaintext of one stream: prefixes are taken out first, then the rest comes as whole float32 words.

    `left` plaintext bytes have not been handed out yet; `_block` holds those of them that are decrypted.
    """

    def __init__(self, read: Read, *, content_key: bytes, context: bytes, length: int) -> None:
        self.left = length
        self._read = read
        self._sealed_left = _stream_length(length)
        self._ask = _FIRST_READ_BYTES
        self._decryptor = Cobblestone256Decryptor(content_key, context)
        # A part of a word that ends a block is carried to the front of the next one: up to three bytes.
        self._buffer = memoryview(bytearray(BLOCK_BYTES + ITEM_BYTES))
        self._block = self._buffer[:0]
        self._spent = False

    def take(self, count: int) -> bytes:
        """The next `count` bytes; `count` is bounded by the caller, and memory grows only as bytes arrive."""
        if count > self.left:
            raise EnvelopeError(f"{count} bytes are announced inside the envelope, {self.left} are left")
        taken = bytearray()
        while len(taken) < count:
            if not self._block:
                self._block = self._buffer[: self._decrypt_into(self._buffer)]
            piece = self._block[: count - len(taken)]
            taken += piece
            self._block = self._block[len(piece) :]
        self.left -= count
        return bytes(taken)

    def take_length(self, size: int, order: Literal["big", "little"], *, limit: int) -> int:
        """The next `size` bytes as the length of what follows."""
        length = int.from_bytes(self.take(size), order)
        if length > limit:
            raise EnvelopeError(f"a part of {length} bytes inside the envelope; the limit is {limit}")
        return length

    def words(self) -> Iterator[memoryview]:
        """All that is left, whose length is a multiple of four."""
        if self._spent:
            raise RuntimeError("the blocks of an envelope can be read once")
        self._spent = True
        filled = len(self._block)
        self._buffer[:filled] = self._block
        while True:
            whole = filled - filled % ITEM_BYTES
            if whole:
                yield self._buffer[:whole]
            if not self._sealed_left:
                return
            carried = filled - whole
            self._buffer[:carried] = self._buffer[whole:filled]
            filled = carried + self._decrypt_into(self._buffer[carried:])

    def _decrypt_into(self, buffer: memoryview) -> int:
        """Read and decrypt the next piece of the stream; with the last one finalise and check that nothing follows."""
        sealed = self._read(min(self._ask, self._sealed_left))
        if not sealed:
            raise _undecryptable()
        self._ask = _READ_BYTES
        self._sealed_left -= len(sealed)
        try:
            count = self._decryptor.update_into(sealed, buffer)
            if not self._sealed_left:
                # The last chunk is short, so it comes out here. Sealed and plain length fix each other: the length is
                # exact.
                last = self._decryptor.finalize()
                buffer[count : count + len(last)] = last
                count += len(last)
        except InvalidTag as error:
            raise _undecryptable() from error
        if not self._sealed_left and self._read(1):
            raise _undecryptable()
        return count


def _plain_prefix(claims: Claims, layout: Layout) -> bytes:
    """Everything before the tensors' bytes."""
    raw_claims = codec.encode(claims)
    if len(raw_claims) > MAX_CLAIMS_BYTES:
        raise EnvelopeError(
            f"claims of {len(raw_claims)} bytes; the limit is {MAX_CLAIMS_BYTES}", code="malformed_claims"
        )
    return b"".join((len(raw_claims).to_bytes(_CLAIMS_LENGTH_BYTES, "big"), raw_claims, safetensors_header(layout)))


def _encode_head(header: EnvelopeHeader, wrapped_key: bytes) -> bytes:
    raw_header = codec.encode(header)
    return b"".join(
        (
            MAGIC,
            len(raw_header).to_bytes(_HEADER_LENGTH_BYTES, "big"),
            raw_header,
            len(wrapped_key).to_bytes(_WRAPPED_LENGTH_BYTES, "big"),
            wrapped_key,
        )
    )


def _max_plain_length(layout: Layout) -> int:
    prefix = _CLAIMS_LENGTH_BYTES + MAX_CLAIMS_BYTES + LENGTH_BYTES + MAX_SAFETENSORS_HEADER_BYTES
    return prefix + layout.data_bytes


def _stream_length(plain_bytes: int) -> int:
    """The length of the stream: whole chunks, then one that is shorter and may be empty."""
    return _STREAM_PREFIX_BYTES + plain_bytes + _TAG_BYTES * (plain_bytes // _CHUNK_BYTES + 1)


def _read_exactly(read: Read, count: int) -> bytes:
    """`count` bytes, a number that has been bounded."""
    data = b""
    while len(data) < count:
        piece = read(count - len(data))
        if not piece:
            raise EnvelopeError("the envelope ends before its stream")
        data += piece
    return data


def _oaep() -> OAEP:
    return OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None)


def _undecryptable() -> EnvelopeError:
    # One code and one sentence for a bad key, a bad tag and a wrong length: whoever sends probes learns nothing from
    # them.
    return EnvelopeError("the envelope cannot be opened", code="undecryptable")
