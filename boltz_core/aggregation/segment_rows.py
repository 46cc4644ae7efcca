"""One segment of some members at a time, in one reused block."""

from collections.abc import Callable, Sequence

import numpy as np

from boltz_core.arrays import Float32Block, Float32Vector
from boltz_core.ingest.segments import SEGMENT_PARAMETERS

OpenSegment = Callable[[int, int, Float32Vector], object]

# rows that lie a power of two apart share their places in the cache, and columns are read slowly
_APART = SEGMENT_PARAMETERS + 16


class SegmentRows:
    """The block, of as many rows as there are members; one more for each of `more`."""

    def __init__(self, members: Sequence[int], *, more: int = 0) -> None:
        self._members = members
        self._values = np.empty((len(members) + more, _APART), dtype="<f4")

    def read(self, segment: int, parameters: int, open_segment: OpenSegment) -> Float32Block:
        """Open the segment of each member; the rows after them are void."""
        rows = self._values[:, :parameters]
        for row, member in zip(rows, self._members, strict=False):
            open_segment(member, segment, row)
        return rows
