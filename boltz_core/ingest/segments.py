"""Staged segments: a float32 vector cut into 64 KiB pieces, each sealed with AES-256-GCM.

A staged file is its sealed segments back to back, ciphertext then 16 bytes of tag. Every segment but the last holds
16384 parameters, so a reader of a parameter range reads one span of bytes. Numbers are little-endian.

- Key: HKDF-Expand-SHA256 of the update's own random key over (update id, attempt, layout digest). A second attempt
  under the same key therefore never repeats a nonce, which in GCM would give away the authentication key.
- Nonce: 12 bytes, the segment's index, big-endian. A sealer seals each index once, in rising order.
- Associated data: the same (update id, attempt, layout digest), length-prefixed. A segment moved to another place,
  update or attempt does not open.

Keys and bytes come in as arguments; where the file lies is for others to know.
"""

import struct

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from boltz_core.arrays import Buffer
from boltz_protocol.errors import ServerFaultError

SEGMENT_PARAMETERS = 16384
SEGMENT_BYTES = 4 * SEGMENT_PARAMETERS
TAG_BYTES = 16
SEALED_SEGMENT_BYTES = SEGMENT_BYTES + TAG_BYTES
KEY_BYTES = 32


class SegmentError(ServerFaultError):
    """A staged segment that does not open, or that was asked to be sealed twice. We wrote it, so the fault is ours."""

    default_code = "segment_damaged"


def segment_count(parameters: int) -> int:
    """How many segments hold `parameters` numbers."""
    return -(-parameters // SEGMENT_PARAMETERS)


def segment_parameters(index: int, parameters: int) -> int:
    """How many numbers segment `index` of a vector of `parameters` holds: 16384, fewer only in the last."""
    return min(SEGMENT_PARAMETERS, parameters - index * SEGMENT_PARAMETERS)


def sealed_offset(index: int) -> int:
    """Where sealed segment `index` starts in its file."""
    return index * SEALED_SEGMENT_BYTES


def sealed_length(parameters: int) -> int:
    """The length of a whole staged file."""
    return 4 * parameters + TAG_BYTES * segment_count(parameters)


class SegmentSealer:
    """Seals the segments of one attempt at one update; each index once, in rising order."""

    def __init__(self, key: bytes, *, update_id: str, attempt: int, layout_digest: str) -> None:
        self._context = _context(update_id, attempt, layout_digest)
        self._cipher = _cipher(key, self._context)
        self._next_index = 0

    def seal_into(self, index: int, block: Buffer, out: bytearray) -> int:
        """Seal `block` (at most 64 KiB) into the head of `out`; return the length of the sealed segment.

        Raises:
            SegmentError: an index below one already sealed, an empty or too long block, or an `out` that is too short.
        """
        plain = _bytes_of(block)
        if index < self._next_index:
            raise SegmentError(f"segment {index} comes after segment {self._next_index - 1}; a nonce must not repeat")
        if not 0 < len(plain) <= SEGMENT_BYTES or len(out) < len(plain) + TAG_BYTES:
            raise SegmentError(
                f"a segment holds 1 to {SEGMENT_BYTES} bytes and needs {TAG_BYTES} more of room; got {len(plain)}"
            )
        self._next_index = index + 1
        target = memoryview(out)[: len(plain) + TAG_BYTES]
        return self._cipher.encrypt_into(_nonce(index), plain, self._context, target)


class SegmentOpener:
    """Opens what a `SegmentSealer` with the same arguments has sealed, in any order."""

    def __init__(self, key: bytes, *, update_id: str, attempt: int, layout_digest: str) -> None:
        self._context = _context(update_id, attempt, layout_digest)
        self._cipher = _cipher(key, self._context)

    def open_into(self, index: int, sealed: Buffer, out: Buffer) -> int:
        """Open one sealed segment into the head of `out`; return the length of the plain bytes.

        Raises:
            SegmentError: damaged, cut, in another place than it was sealed for, or too long for `out`. What `out`
                then holds is void.
        """
        view, room = _bytes_of(sealed), _bytes_of(out)
        length = len(view) - TAG_BYTES
        if not 0 < length <= len(room):
            raise SegmentError(
                f"sealed segment {index} has {len(view)} bytes; expected {TAG_BYTES + 1} to {len(room) + TAG_BYTES}"
            )
        try:
            return self._cipher.decrypt_into(_nonce(index), view, self._context, room[:length])
        except InvalidTag:
            raise SegmentError(f"sealed segment {index} does not open: damaged, moved, or under another key") from None


def _context(update_id: str, attempt: int, layout_digest: str) -> bytes:
    """Bind a segment to its update, attempt and layout: u16 length and text of both names around a u32, big-endian."""
    name, layout = update_id.encode(), layout_digest.encode()
    return struct.pack(f">H{len(name)}sIH{len(layout)}s", len(name), name, attempt, len(layout), layout)


def _cipher(key: bytes, context: bytes) -> AESGCM:
    """The cipher of one attempt, under a key of its own."""
    if len(key) != KEY_BYTES:
        raise SegmentError(f"a segment key has {KEY_BYTES} bytes; got {len(key)}")
    return AESGCM(HKDFExpand(SHA256(), KEY_BYTES, b"boltz-mesh/v1/segment\0" + context).derive(key))


def _bytes_of(buffer: Buffer) -> memoryview:
    """The bytes of a buffer, without a copy."""
    return memoryview(buffer.data if isinstance(buffer, np.ndarray) else buffer).cast("B")


def _nonce(index: int) -> bytes:
    """The segment's index in 12 bytes."""
    return index.to_bytes(12, "big")
