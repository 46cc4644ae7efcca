"""Ciphertext that is cut, at every kind of boundary, or changed: it is taken, and refused when it is opened."""

import numpy as np
import pytest

from boltz_protocol import envelope
from tests.apps.hostile_envelopes import CLAIMS, flipped, head_bytes, seal
from tests.chaos import hostile_rounds

pytestmark = [pytest.mark.processes, pytest.mark.long]

layout, run_round = hostile_rounds.layout, hostile_rounds.run_round


CHUNK = envelope._SEALED_CHUNK_BYTES
PREFIX = envelope._STREAM_PREFIX_BYTES
TAG = envelope._TAG_BYTES


def cut_at(position):
    """An envelope that ends at a place of its stream; a negative one counts from its end."""

    def make(place):
        body = seal(place, np.ones(place.layout.parameters, np.float32))
        return body[:position] if position < 0 else body[: head_bytes(body) + position]

    return make


def test_ciphertext_that_is_cut_at_any_boundary_is_refused(run_round, layout):
    stream = envelope._stream_length(envelope.plain_length(CLAIMS, layout))
    chunks = (stream - PREFIX) // CHUNK
    assert chunks > 40
    last = PREFIX + chunks * CHUNK
    positions = {
        "before the stream": 0,
        "inside the salt": 16,
        "before the first chunk": PREFIX,
        "inside the first chunk": PREFIX + 100,
        "before the first tag": PREFIX + CHUNK - TAG,
        "inside the first tag": PREFIX + CHUNK - 1,
        "after the first chunk": PREFIX + CHUNK,
        "inside the second chunk": PREFIX + CHUNK + 1,
        "at the first read's end": envelope._FIRST_READ_BYTES,
        "at the second read's end": envelope._FIRST_READ_BYTES + envelope._READ_BYTES,
        "half way": stream // 2,
        "before the last chunk": last,
        "inside the last chunk": last + 1,
        "before the last tag": stream - TAG,
        "inside the last tag": stream - 1,
    }
    codes = run_round({name: cut_at(position) for name, position in positions.items()})
    assert codes == dict.fromkeys(positions, "undecryptable")


def test_ciphertext_that_was_changed_at_any_place_is_refused(run_round):
    """Chunks that are swapped, doubled, left out, altered in one bit, or followed by more."""

    def changed(change):
        def make(place):
            body = seal(place, np.ones(place.layout.parameters, np.float32))
            start = head_bytes(body) + PREFIX
            chunks = [body[at : at + CHUNK] for at in range(start, len(body), CHUNK)]
            return body[:start] + b"".join(change(chunks))

        return make

    cases = {
        "swapped": lambda chunks: [chunks[1], chunks[0], *chunks[2:]],
        "doubled": lambda chunks: [chunks[0], *chunks],
        "left out": lambda chunks: [*chunks[:5], *chunks[6:]],
        "last one left out": lambda chunks: chunks[:-1],
        "altered": lambda chunks: [*chunks[:7], flipped(chunks[7], 99), *chunks[8:]],
        "followed by a byte": lambda chunks: [*chunks, b"\0"],
        "followed by a chunk": lambda chunks: [*chunks[:-1], chunks[-1], chunks[0]],
        "reversed": lambda chunks: chunks[::-1],
    }
    # longer than any update of the model may be: the door does not take it
    codes = run_round({name: changed(change) for name, change in cases.items()})
    assert codes == dict.fromkeys(cases, "undecryptable")
