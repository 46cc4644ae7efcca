"""Connections that break during an upload of a soak, or when its answer is on its way."""

from collections.abc import Callable
from dataclasses import dataclass, field

# a share of this many bodies is drawn: what lies beyond the first one breaks with the answer
BODIES = 1.5


class BrokenError(OSError):
    """Ends the proxy's connection."""


@dataclass
class Breaks:
    """Lets a proxy break the connection of the next upload: at a byte of it, or with the answer on its way.

    `note` is called when it has.
    """

    note: Callable[..., None]
    body_bytes: float = 0.0
    share: float | None = None
    _seen: int | None = field(default=None, init=False)

    def arm(self, share, body_bytes):
        self.share, self.body_bytes, self._seen = share, body_bytes, None

    def let_request(self, block):
        if self.share is None:
            return block
        if block.startswith(b"PUT "):
            self._seen = 0
        if self._seen is not None:
            self._seen += len(block)
            # beyond the whole body: with the answer
            if self._seen > self.share * BODIES * self.body_bytes:
                self._break()
        return block

    def let_answer(self, block):
        if self.share is not None and self._seen and block.startswith(b"HTTP/1.1 202"):
            self._break()
        return block

    def _break(self):
        self.share = None
        self.note("fault", "breaks a connection", after_bytes=self._seen)
        raise BrokenError
