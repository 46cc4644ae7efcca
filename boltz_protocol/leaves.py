"""The leaf of the log: what is hashed into the Merkle tree and stored verbatim.

A leaf is canonical JSON and holds no personal data: `subject` is a random pseudonym, `detail` a salted commitment whose
opening is kept elsewhere, under the subject's key, and can be destroyed without touching the tree. Source: RFC 9162
section 2.1.1.
"""

import hashlib
from typing import Literal

from boltz_protocol.errors import MalformedMessageError
from boltz_protocol.messages import Identifier, Label, Message, Sha256Hex, Timestamp

SALT_BYTES = 32


class LogLeaf(Message, frozen=True):
    """One entry of the log: what happened (`type`), by whom (`actor`), to whom (`subject`), in which `round`."""

    v: Literal[1]
    id: Identifier
    t: Timestamp
    type: Label
    actor: Label
    subject: Label | None
    round: Label | None
    detail: Sha256Hex


def detail_commitment(salt: bytes, detail_canonical: bytes) -> str:
    """The hex SHA-256 of salt and detail, which a leaf holds in place of the detail.

    Without the salt a short detail could be guessed from its hash; its length is fixed so that no byte can change
    sides.

    Args:
        salt: 32 random bytes, new for each entry.
        detail_canonical: canonical JSON.

    Raises:
        MalformedMessageError: a salt of another length.
    """
    if len(salt) != SALT_BYTES:
        raise MalformedMessageError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    return hashlib.sha256(salt + detail_canonical).hexdigest()


def leaf_hash(leaf: bytes) -> bytes:
    """The Merkle tree hash of one leaf: SHA-256 of 0x00 and the leaf. The prefix keeps leaves and inner nodes apart."""
    return hashlib.sha256(b"\0" + leaf).digest()
