"""One update of 4 MB from envelope to sealed segments, beside the sum of its unavoidable parts, in the same run.

Parts: RSA unwrap, AES-256-GCM of the content, one pass for finite and norm, sealing again. No files on either side.
"""

import hashlib
import io
from datetime import UTC, datetime

import numpy as np
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.timing import best_seconds
from boltz_core.arrays import Float32Vector
from boltz_core.ingest.segments import SEALED_SEGMENT_BYTES, SEGMENT_BYTES, SEGMENT_PARAMETERS, SegmentSealer
from boltz_core.ingest.staging import StagedFacts, stage_update
from boltz_protocol import envelope
from boltz_protocol.messages import Claims, EnvelopeHeader, TensorSpec
from boltz_protocol.tensors import Layout

PARAMETERS = 1_000_000
LAYOUT = Layout.from_specs([TensorSpec(name="weight", shape=(PARAMETERS,))])
CLAIMS = Claims(v=1, examples=1000, feature_coverage=1.0, invalid_share=0.0, metrics={}, local_noise=None)


def make_vector() -> Float32Vector:
    """Made numbers in [-1, 1)."""
    words = np.frombuffer(hashlib.shake_256(b"update").digest(4 * PARAMETERS), dtype="<u4")
    return (words / 2.0**31 - 1).astype(np.float32)


def make_envelope(vector: Float32Vector, server_key: rsa.RSAPublicKey) -> bytes:
    """Seal the vector as a client does."""
    header = EnvelopeHeader(
        v=1,
        suite=1,
        server_kid="s" * 43,
        client_kid="c" * 43,
        client_id="c_1",
        model="boltz-core",
        round=1,
        upload_id="u_1",
        base_sha256="0" * 64,
        layout_digest=LAYOUT.digest,
        codec="safetensors-f32",
        plain_length=envelope.plain_length(CLAIMS, LAYOUT),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    file = io.BytesIO()
    envelope.seal(header, CLAIMS, vector, LAYOUT, server_key=server_key, write=file.write)
    return file.getvalue()


def new_sealer() -> SegmentSealer:
    """A sealer for one pass."""
    return SegmentSealer(bytes(32), update_id="u_1", attempt=1, layout_digest=LAYOUT.digest)


def ingest(raw: bytes, private_key: rsa.RSAPrivateKey, last_step: Float32Vector | None) -> StagedFacts:
    """The whole of it: head, unwrap, decrypt, validate, measure, seal."""
    file = io.BytesIO(raw)
    head = envelope.read_header(file.read)
    key = envelope.unwrap_key(private_key, head.wrapped_key)
    opened = envelope.open_sealed(head, file.read, content_key=key, layout=LAYOUT)
    step = None if last_step is None else lambda index: last_step[index * SEGMENT_PARAMETERS :][:SEGMENT_PARAMETERS]
    return stage_update(opened, layout=LAYOUT, max_norm=1e6, sealer=new_sealer(), write=len, last_step=step)


def measure_norm(vector: Float32Vector, wide: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Finite and norm: one pass in float64, a segment at a time."""
    squares = 0.0
    for start in range(0, len(vector), SEGMENT_PARAMETERS):
        piece = vector[start : start + SEGMENT_PARAMETERS]
        part = wide[: len(piece)]
        np.copyto(part, piece)
        squares += float(np.dot(part, part))
    return squares


def seal_again(vector: Float32Vector, out: bytearray) -> None:
    """Seal the vector in segments."""
    sealer = new_sealer()
    for index, start in enumerate(range(0, len(vector), SEGMENT_PARAMETERS)):
        sealer.seal_into(index, vector[start : start + SEGMENT_PARAMETERS], out)


def measure(*, repeat: int) -> list[dict[str, str | float]]:
    """One row of the table for each part, their sum, and the whole with and without the dot with the last step."""
    vector = make_vector()
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    raw = make_envelope(vector, private_key.public_key())
    wrapped_key = envelope.read_header(io.BytesIO(raw).read).wrapped_key
    cipher, nonce = AESGCM(bytes(32)), bytes(12)
    sealed = [
        cipher.encrypt(nonce, piece.tobytes(), None)
        for piece in np.array_split(vector, 4 * PARAMETERS // SEGMENT_BYTES)
    ]
    plain, out, wide = (
        memoryview(bytearray(2 * SEGMENT_BYTES)),
        bytearray(SEALED_SEGMENT_BYTES),
        np.empty(SEGMENT_PARAMETERS),
    )

    def decrypt() -> None:
        for piece in sealed:
            cipher.decrypt_into(nonce, piece, None, plain[: len(piece) - 16])

    parts = {
        "RSA-3072 unwrap": lambda: envelope.unwrap_key(private_key, wrapped_key),
        "AES-256-GCM of 4 MB": decrypt,
        "finite and norm": lambda: measure_norm(vector, wide),
        "seal in segments": lambda: seal_again(vector, out),
    }
    whole = {
        "whole": lambda: ingest(raw, private_key, None),
        "whole, with last step": lambda: ingest(raw, private_key, vector),
    }
    best = best_seconds(parts | whole, repeat=10 * repeat)
    total = sum(best[name] for name in parts)
    times = {name: best[name] for name in parts} | {"sum of the parts": total} | {name: best[name] for name in whole}
    return [{"work": name, "ms": 1000 * seconds, "x sum": seconds / total} for name, seconds in times.items()]
