"""One update of 4 MB from envelope to staged segments, beside the sum of its unavoidable parts, in the same run.

Parts: reading the envelope, RSA unwrap, AES-256-GCM of the content, one pass for finite and norm, sealing again,
writing it durably. Beside them the pass itself, in memory, and updates on their way through Redis, Celery and Postgres,
with what `./dev up` starts on the same cores: milliseconds of one core an update.
"""

import io
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks import celery_ingest
from benchmarks.prepared import made_vector
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


def write_durably(directory: Path, content: bytes) -> None:
    """One new file that stays."""
    path = directory / "staged"
    with path.open("wb", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())


def measure(*, repeat: int) -> list[dict[str, str | float]]:
    """One row for each part, their sum, the pass in memory, and the whole way through Celery."""
    with tempfile.TemporaryDirectory(prefix="boltz-bench-") as directory:
        best, parts = measure_parts(Path(directory), repeat=repeat)
    celery = min(celery_ingest.seconds_per_update(PARAMETERS) for _ in range(max(1, repeat // 3)))
    total = sum(best[name] for name in parts)
    times = {name: best[name] for name in parts} | {"sum of the parts": total}
    times |= {name: seconds for name, seconds in best.items() if name not in parts} | {"through Celery": celery}
    return [
        {"work": name, "ms": 1000 * seconds, "x sum": seconds / total, "sum / it": total / seconds}
        for name, seconds in times.items()
    ]


def measure_parts(directory: Path, *, repeat: int) -> tuple[dict[str, float], list[str]]:
    """The best times of the parts and of the pass with and without the dot with the last step; the parts' names."""
    vector = made_vector("update", PARAMETERS)
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    raw = make_envelope(vector, private_key.public_key())
    wrapped_key = envelope.read_header(io.BytesIO(raw).read).wrapped_key
    cipher, nonce = AESGCM(bytes(32)), bytes(12)
    pieces = np.array_split(vector, 4 * PARAMETERS // SEGMENT_BYTES)
    sealed = [cipher.encrypt(nonce, piece.tobytes(), None) for piece in pieces]
    plain, wide = memoryview(bytearray(2 * SEGMENT_BYTES)), np.empty(SEGMENT_PARAMETERS)
    out, file = bytearray(SEALED_SEGMENT_BYTES), directory / "envelope"
    file.write_bytes(raw)

    def decrypt() -> None:
        for piece in sealed:
            cipher.decrypt_into(nonce, piece, None, plain[: len(piece) - 16])

    parts = {
        "read 4 MB": file.read_bytes,
        "RSA-3072 unwrap": lambda: envelope.unwrap_key(private_key, wrapped_key),
        "AES-256-GCM of 4 MB": decrypt,
        "finite and norm": lambda: measure_norm(vector, wide),
        "seal in segments": lambda: seal_again(vector, out),
        "write 4 MB, fsync": lambda: write_durably(directory, raw),
    }
    passes = {
        "the pass": lambda: ingest(raw, private_key, None),
        "the pass, with last step": lambda: ingest(raw, private_key, vector),
    }
    return best_seconds(parts | passes, repeat=10 * repeat), list(parts)
