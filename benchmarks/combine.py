"""The exact weighted mean through `combine_range`, from memory and from sealed files in a temporary directory.

Beside it, in the same run: `np.sum` of the same bytes (reading once, the limit), and numpy's inexact weighted mean.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import best_seconds
from boltz_core.aggregation.combine import combine_range
from boltz_core.aggregation.decision import Decision, Member, decide
from boltz_core.aggregation.shards import ParameterRange, plan_shards
from boltz_core.arrays import Float32Vector, Float64Vector
from boltz_core.ingest import segments
from boltz_core.ingest.segments import SEALED_SEGMENT_BYTES, SEGMENT_PARAMETERS, SegmentOpener, SegmentSealer
from boltz_protocol.messages import RoundPolicy

CASES = ((100, 1_000_000), (10, 10_000_000))
POLICY = RoundPolicy(
    mode="robust",
    rule="weighted_mean",
    max_norm=1000.0,
    quorum=1,
    target=1000,
    example_cap=10_000,
    round_seconds=60,
    replay_window_days=30,
)


def make_rows(members: int, parameters: int) -> NDArray[np.float32]:
    """Rows of made numbers in [-0.1, 0.1)."""
    words = np.frombuffer(hashlib.shake_256(b"rows").digest(1 << 22), dtype="<u4")
    return np.resize(((words / 2.0**31 - 1) / 10).astype(np.float32), (members, parameters))


def combine_memory(rows: NDArray[np.float32], decision: Decision, span: ParameterRange) -> None:
    """Combine rows that lie in memory."""

    def open_segment(member: int, index: int, out: Float32Vector) -> None:
        start = index * SEGMENT_PARAMETERS
        np.copyto(out, rows[member, start : start + len(out)])

    exhaust(combine_range(span, decision, open_segment))


def exhaust(segments: Iterator[Float64Vector]) -> None:
    """Compute them all and keep none, as a shard task does that adds each to its weights."""
    for _segment in segments:
        pass


class SealedFiles:
    """The rows as staged files, open for reading."""

    def __init__(self, rows: NDArray[np.float32], folder: Path, stack: ExitStack) -> None:
        self._buffer = memoryview(bytearray(SEALED_SEGMENT_BYTES))
        self._files = []
        self._places = []
        for member, row in enumerate(rows):
            place = {"update_id": f"u{member:04}", "attempt": 1, "layout_digest": "0" * 64}
            path = folder / f"{member}"
            self._seal(row, SegmentSealer(bytes(32), **place), path)
            self._files.append(stack.enter_context(path.open("rb")))
            self._places.append(place)

    def combine(self, decision: Decision, span: ParameterRange) -> None:
        """Combine them, opening each segment with a pread, as a shard task does."""
        openers = [SegmentOpener(bytes(32), **place) for place in self._places]

        def open_segment(member: int, index: int, out: Float32Vector) -> None:
            sealed = self._buffer[: out.nbytes + segments.TAG_BYTES]
            os.preadv(self._files[member].fileno(), [sealed], segments.sealed_offset(index))
            openers[member].open_into(index, sealed, out)

        exhaust(combine_range(span, decision, open_segment))

    @staticmethod
    def _seal(row: Float32Vector, sealer: SegmentSealer, path: Path) -> None:
        out = bytearray(SEALED_SEGMENT_BYTES)
        with path.open("wb") as file:
            for index in range(segments.segment_count(len(row))):
                start = index * SEGMENT_PARAMETERS
                length = sealer.seal_into(index, row[start : start + SEGMENT_PARAMETERS], out)
                file.write(memoryview(out)[:length])


def measure(*, repeat: int) -> list[dict[str, str | float]]:
    """One row of the table for each case and way."""
    table: list[dict[str, str | float]] = []
    for members, parameters in CASES:
        rows = make_rows(members, parameters)
        decision = decide([Member(f"u{i:04}", 0.0, 1 + 37 * i) for i in range(members)], policy=POLICY)
        (span,) = plan_shards(parameters, max_shards=1)
        weights = np.array(decision.shares, dtype=np.float32)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="boltz-bench-")))
            sealed = SealedFiles(rows, folder, stack)
            if not np.array_equal(sealed.combine(decision, span), combine_memory(rows, decision, span)):
                raise SystemExit("the two ways give different bits")
            best = best_seconds(
                {
                    "np.sum, reading once": rows.sum,
                    "weights @ rows, inexact": lambda rows=rows, weights=weights: weights @ rows,
                    "combine_range, memory": lambda rows=rows, decision=decision, span=span: combine_memory(
                        rows, decision, span
                    ),
                    "combine_range, sealed files": lambda sealed=sealed, decision=decision, span=span: sealed.combine(
                        decision, span
                    ),
                },
                repeat=repeat,
            )
        once = best["np.sum, reading once"]
        table += [
            {"case": f"N={members} d={parameters:.0e}", "way": way, "seconds": seconds, "x np.sum": seconds / once}
            for way, seconds in best.items()
        ]
    return table
