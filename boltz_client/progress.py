"""A line on the terminal while a long transfer runs; silence for short ones, and where there is no terminal."""

import sys
from typing import TextIO

SHOWN_FROM_BYTES = 8 << 20
_MEGABYTE = 1_000_000


class Progress:
    """Counts the bytes of one transfer."""

    def __init__(self, what: str, total_bytes: int, *, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._what, self._total = what, total_bytes
        self._shown = total_bytes > SHOWN_FROM_BYTES and self._stream.isatty()
        self._percent = -1

    def at(self, done_bytes: int) -> None:
        """Show how far the transfer is, once per percent; ends the line when all is there."""
        percent = 100 * done_bytes // max(self._total, 1)
        if not self._shown or percent == self._percent:
            return
        self._percent = percent
        line = f"\r{self._what}  {done_bytes / _MEGABYTE:.1f} of {self._total / _MEGABYTE:.1f} MB  {percent} %"
        self._stream.write(line + ("\n" if done_bytes >= self._total else ""))
        self._stream.flush()
