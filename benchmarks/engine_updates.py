"""Made updates for the engine: rows around a common one, as an array and as the sealed files of ingest."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boltz_core.aggregation.held_rows import settled_norm
from boltz_core.aggregation.segment_rows import OpenSegment
from boltz_core.arrays import Float32Block, Float32Vector
from boltz_core.ingest import segments
from boltz_core.ingest.segments import SEALED_SEGMENT_BYTES, SEGMENT_PARAMETERS, SegmentOpener, SegmentSealer

# a prime, so that no two rows begin at the same place of the numbers
PERIOD = 1_048_573
KEY = bytes(segments.KEY_BYTES)


@dataclass(frozen=True)
class MadeUpdates:
    """So many updates on disk, with the norms that ingest has found."""

    folder: Path
    parameters: int
    norms: tuple[float, ...]

    @property
    def rows_path(self) -> Path:
        """All rows, as an array."""
        return self.folder / "rows.npy"

    def rows(self) -> Float32Block:
        """The rows, read into memory."""
        rows: Float32Block = np.load(self.rows_path)
        return rows

    @contextmanager
    def sealed(self) -> Iterator[OpenSegment]:
        """The sealed files, open for reading segment by segment, as a worker reads them."""
        buffer = memoryview(bytearray(SEALED_SEGMENT_BYTES))
        openers = [SegmentOpener(KEY, **context_of(number)) for number in range(len(self.norms))]
        with ExitStack() as stack:
            files = [
                stack.enter_context(sealed_path(self.folder, number).open("rb")) for number in range(len(self.norms))
            ]

            def open_segment(member: int, index: int, out: Float32Vector) -> None:
                sealed = buffer[: out.nbytes + segments.TAG_BYTES]
                os.preadv(files[member].fileno(), [sealed], segments.sealed_offset(index))
                openers[member].open_into(index, sealed, out)

            yield open_segment


def make_updates(folder: Path, members: int, parameters: int, *, with_rows: bool = True) -> MadeUpdates:
    """Make updates and seal them; their rows are left out where they would only take room."""
    folder.mkdir()
    norms = []
    held = None
    if with_rows:
        held = np.lib.format.open_memmap(folder / "rows.npy", mode="w+", dtype="<f4", shape=(members, parameters))
    for number, row in enumerate(made_rows(members, parameters)):
        norms.append(settled_norm(row))
        seal(row, SegmentSealer(KEY, **context_of(number)), sealed_path(folder, number))
        if held is not None:
            held[number] = row
    return MadeUpdates(folder, parameters, tuple(norms))


def made_rows(members: int, parameters: int) -> Iterator[Float32Vector]:
    """Rows around a common one, up to twice as far from it; each is overwritten by the next."""
    common = np.resize(made_numbers("common"), parameters)
    own = np.tile(made_numbers("own"), 2)
    row = np.empty(parameters, dtype="<f4")
    for number in range(members):
        distance = np.float32(0.1 * (1 + number / members))
        first = number * parameters % PERIOD
        np.multiply(np.resize(own[first : first + PERIOD], parameters), distance, out=row)
        np.add(row, common, out=row)
        yield row


def made_numbers(name: str) -> Float32Vector:
    """Numbers in [-0.1, 0.1)."""
    words = np.frombuffer(hashlib.shake_256(name.encode()).digest(4 * PERIOD), dtype="<u4")
    return ((words / 2.0**31 - 1) / 10).astype(np.float32)


def seal(row: Float32Vector, sealer: SegmentSealer, path: Path) -> None:
    """Write one update in sealed segments."""
    out = bytearray(SEALED_SEGMENT_BYTES)
    with path.open("wb") as file:
        for index in range(segments.segment_count(len(row))):
            start = index * SEGMENT_PARAMETERS
            length = sealer.seal_into(index, row[start : start + SEGMENT_PARAMETERS], out)
            file.write(memoryview(out)[:length])


def update_id(number: int) -> str:
    """Ids are in the order of the rows."""
    return f"u{number:04}"


def context_of(number: int) -> dict[str, str | int]:
    """What the segments of an update are sealed to."""
    return {"update_id": update_id(number), "attempt": 1, "layout_digest": "0" * 64}


def sealed_path(folder: Path, number: int) -> Path:
    """Where a sealed update lies."""
    return folder / f"{update_id(number)}.1"
