"""The staged updates of a round as a matrix that is never held: one row a member, read segment by segment."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from apps.keys import services as keys
from apps.rounds import stores
from apps.rounds.models import Round, Update
from boltz_core.ingest.segments import SegmentError, SegmentOpener
from boltz_protocol.errors import ServerFaultError

OPEN_FILES = 256


class StagedMatrix:
    """Opens segment s of member m on demand; at most `OPEN_FILES` files are open at a time."""

    def __init__(self, round_: Round, order: Sequence[str]) -> None:
        self._round = round_
        self._layout = round_.model.tensor_layout()
        self._order = order
        self._rows = {update.pk: update for update in Update.objects.filter(round=round_, pk__in=order)}
        self._readers: OrderedDict[int, stores.StagedReader] = OrderedDict()

    def open_segment(self, member: int, segment: int, out: NDArray[np.float32]) -> None:
        """Fill `out` with one segment of one member.

        Raises:
            DamagedMemberError: its file is gone, too short or altered; names the update.
            ServerFaultError: the round's staging key cannot be used (`key_missing`, `key_damaged`).
        """
        try:
            self._reader(member).read_into(segment, memoryview(out).cast("B"))
        except (stores.BlobMissingError, SegmentError) as error:
            raise stores.DamagedMemberError(self._order[member], error.message) from error

    def _reader(self, member: int) -> stores.StagedReader:
        if member in self._readers:
            self._readers.move_to_end(member)
            return self._readers[member]
        if len(self._readers) >= OPEN_FILES:
            _, oldest = self._readers.popitem(last=False)
            oldest.close()
        self._readers[member] = reader = self._open(self._order[member])
        return reader

    def _open(self, update_id: str) -> stores.StagedReader:
        update = self._rows[update_id]
        if update.staged_key is None or update.staged_attempt is None:
            raise stores.BlobMissingError(f"the segments of update {update_id} are shredded")
        context = stores.segment_context(update_id, update.staged_attempt)
        try:
            key = keys.key_store().open_sealed(self._round.staging_kid, bytes(update.staged_key), context)
        except ServerFaultError as error:
            if error.code != keys.SEALED_BYTES_DAMAGED:
                # the round's own key is gone or its store is not there: no member is to blame, and none is lost
                raise
            raise stores.BlobMissingError(f"the key of update {update_id} cannot be opened: {error.message}") from error
        opener = SegmentOpener(
            key, update_id=update_id, attempt=update.staged_attempt, layout_digest=self._layout.digest
        )
        path = stores.staged_path(self._round.pk, update_id, update.staged_attempt)
        return stores.StagedReader(path, opener, self._layout.parameters)

    def close(self) -> None:
        """Close every file."""
        while self._readers:
            self._readers.popitem()[1].close()


@contextmanager
def staged_matrix(round_: Round, order: Sequence[str]) -> Iterator[StagedMatrix]:
    """The staged updates of a round, in the order of a decision."""
    matrix = StagedMatrix(round_, order)
    try:
        yield matrix
    finally:
        matrix.close()
