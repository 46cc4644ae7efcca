"""Where bytes lie: sealed envelopes (inbox) and sealed segments (staged), both on the file system under BOLTZ_DATA_DIR.

A file appears under its final name only when it is whole and durable: written beside it, fsynced, renamed, directory
fsynced. Nothing here is in clear: envelopes are sealed by the client, segments by us. Version weights go through
Django's storage API (versions.py).
"""

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from apps.keys import durable_files
from boltz_core.ingest.segments import SegmentOpener, sealed_length, sealed_offset
from boltz_protocol.errors import ServerFaultError

BLOCK_BYTES = 256 * 1024
PARTIAL_SUFFIX = ".part"
# sectors that cannot be read; another thing in the place of the file
LOST = {errno.EIO, errno.EISDIR}


class BlobMissingError(ServerFaultError):
    """A file that the database knows is not on disk, or shorter than it must be."""

    default_code = "blob_missing"


class DamagedMemberError(ServerFaultError):
    """The staged segments of one update are damaged or gone."""

    default_code = "member_damaged"

    def __init__(self, update_id: str, message: str) -> None:
        super().__init__(message)
        self.update_id = update_id


def make_directory(path: Path) -> None:
    """Make a directory whose own name is durable too."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True, mode=0o750)
        durable_files.sync_directory(path.parent)


@contextlib.contextmanager
def partial_file(directory: Path) -> Iterator[BinaryIO]:
    """A new file in `directory` that vanishes unless it is renamed inside the block."""
    make_directory(directory)
    path = directory / f"{secrets.token_hex(16)}{PARTIAL_SUFFIX}"
    try:
        # buffered: a raw file may take a part of a block and say so in its return value only
        with path.open("xb") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def publish_file(file: BinaryIO, target: Path) -> None:
    """Give a partial file its final name, durably."""
    file.flush()
    os.fsync(file.fileno())
    make_directory(target.parent)
    Path(file.name).rename(target)
    durable_files.sync_directory(target.parent)


def scratch() -> Path:
    """Where weights are written before the storage takes them over, or a copy of them."""
    return Path(settings.BOLTZ_DATA_DIR) / "scratch"


# --- envelopes
# --------------------------------------------------------------------------------------------------------------


def inbox() -> Path:
    """The directory of sealed envelopes."""
    return Path(settings.BOLTZ_DATA_DIR) / "inbox"


def envelope_path(sha256: str) -> Path:
    """Where the envelope with this digest lies."""
    return inbox() / sha256[:2] / sha256


def open_envelope(sha256: str) -> BinaryIO:
    """The envelope's bytes, unbuffered.

    Raises:
        BlobMissingError: it is not there.
    """
    try:
        return envelope_path(sha256).open("rb", buffering=0)  # type: ignore[return-value]
    except FileNotFoundError as error:
        raise BlobMissingError(f"the envelope {sha256} is not on disk") from error


def envelope_is_intact(sha256: str) -> bool:
    """Whether the envelope still has the digest it was taken under: tells our disk's fault from the client's."""
    try:
        with open_envelope(sha256) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except BlobMissingError:
        return False


def delete_envelope(sha256: str) -> None:
    """Remove an envelope; nothing happens when it is gone."""
    envelope_path(sha256).unlink(missing_ok=True)


# --- staged segments
# --------------------------------------------------------------------------------------------------------


def staging() -> Path:
    """The directory of all staged updates, which may be a file system of its own: partial files lie in it too."""
    return Path(settings.BOLTZ_DATA_DIR) / "staged"


def staged_directory(round_id: int) -> Path:
    """The directory of a round's staged updates."""
    return staging() / str(round_id)


def segment_context(update_id: str, attempt: int) -> bytes:
    """What the wrapped key of one attempt's segments is bound to."""
    return f"segments|{update_id}|{attempt}".encode()


def staged_path(round_id: int, update_id: str, attempt: int) -> Path:
    """Where one attempt's segments lie. The attempt is in the name, so that two workers never write one file."""
    return staged_directory(round_id) / f"{update_id}.{attempt}"


def staged_is_whole(path: Path, parameters: int) -> bool:
    """Whether a staged file is there in its full length; whether its segments open shows when they are read.

    Raises:
        OSError: the disk does not say.
    """
    try:
        return path.stat().st_size == sealed_length(parameters)
    except FileNotFoundError:
        return False


class StagedReader:
    """Reads and opens single segments of one staged update by `pread`, into reused buffers.

    Only what says that this file is lost counts as lost: it is not there, it ends too early, its sectors cannot be
    read. Whatever else the system answers (no more descriptors, no rights, a mount that hangs) may be over at the next
    try, and is raised as it is.
    """

    def __init__(self, path: Path, opener: SegmentOpener, parameters: int) -> None:
        self._opener = opener
        self._sealed = bytearray(sealed_offset(1))
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise BlobMissingError(f"staged update {path.name} is not on disk") from error
        self._length = sealed_length(parameters)

    def read_into(self, index: int, out: bytearray | memoryview) -> int:
        """Open segment `index` into `out`; returns the number of plain bytes.

        Raises:
            SegmentError: altered, or moved from another place.
            BlobMissingError: the file ends too early, or the disk cannot read it.
            OSError: something else keeps it from being read now.
        """
        start = sealed_offset(index)
        size = min(sealed_offset(index + 1), self._length) - start
        view = memoryview(self._sealed)[:size]
        try:
            count = os.preadv(self._descriptor, [view], start)
        except OSError as error:
            if error.errno not in LOST:
                raise
            raise BlobMissingError(f"segment {index} of a staged update cannot be read: {error.strerror}") from error
        if count != size:
            raise BlobMissingError(f"a staged update ends inside segment {index}")
        return self._opener.open_into(index, view, out)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
