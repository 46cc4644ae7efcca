"""What this home has sent, written down before it is sent.

One entry for a model and round. If the process dies between sending and the answer, the next call finds the entry, asks
the mesh what it holds under that upload id, and either takes the receipt or sends again under the same id: never a
second update.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, structs

from boltz_client.home import Home
from boltz_protocol.messages import (
    Identifier,
    Label,
    Message,
    Name,
    Positive,
    Sha256Hex,
    Share,
    SignedDocument,
)

FOLDER = "rounds"
_ENTRY = re.compile(r"([1-9][0-9]*)\.json")


class JournalEntry(Message, frozen=True):
    """One update. `sent` lists the digest of each envelope sealed for it (a re-sealed update has other bytes)."""

    v: Literal[1]
    model: Name
    round: Positive
    client_id: Identifier
    upload_id: Identifier
    base_sha256: Sha256Hex
    sent: tuple[Sha256Hex, ...]
    examples: Positive
    invalid_share: Share
    norm_sent: Annotated[float, Meta(ge=0)]
    clipped: bool
    metrics: dict[Label, float]
    receipt: SignedDocument | None

    def sealed(self, body_sha256: str) -> "JournalEntry":
        """With one more envelope."""
        return structs.replace(self, sent=(*self.sent, body_sha256))

    def receipted(self, receipt: SignedDocument) -> "JournalEntry":
        """With the verified receipt."""
        return structs.replace(self, receipt=receipt)


class Journal:
    """All entries of one home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def read(self, model: str, number: int) -> JournalEntry | None:
        """The entry for a round, if there is one."""
        return self._home.read(JournalEntry, FOLDER, model, f"{number}.json")

    def write(self, entry: JournalEntry) -> None:
        """Store an entry durably."""
        self._home.write(entry, FOLDER, entry.model, f"{entry.round}.json")

    def latest(self, model: str) -> JournalEntry | None:
        """The entry of the newest round of a model."""
        newest = max(self._numbers(model), default=None)
        return None if newest is None else self.read(model, newest)

    def _numbers(self, model: str) -> Iterator[int]:
        folder = self._home.path(FOLDER, model)
        for path in folder.iterdir() if folder.is_dir() else ():
            match = _ENTRY.fullmatch(path.name)
            if match:
                yield int(match[1])
