"""Small secret files that are whole or absent after a SIGKILL or a power cut at any instant.

A file is written beside its place, synced, linked into place (a link never replaces what is there) and its directory
synced. To destroy one, its bytes are overwritten and synced before the name goes, so that a crash on the way leaves a
file that opens to nothing and can be destroyed again. On flash and on copy-on-write file systems the old blocks may
outlive the overwriting: there only the key-encryption key stands between them and a reader, which is why no file holds
anything that is not sealed under it.
"""

import contextlib
import os
import secrets
from pathlib import Path

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
PENDING_SUFFIX = ".new"


def make_directory(directory: Path) -> None:
    """Make a directory that only this user can enter, if it is not there."""
    directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)


def write_once(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet; on return it is on the disk.

    Raises:
        FileExistsError: there is one already; it is left as it is.
    """
    pending = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PENDING_SUFFIX}")
    descriptor = os.open(pending, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(pending, path)
    finally:
        pending.unlink()
    sync_directory(path.parent)


def destroy(path: Path) -> bool:
    """Overwrite a file and remove it; False when it was not there. May be repeated after a crash at any point."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    with os.fdopen(descriptor, "wb") as file:
        # the same inode is overwritten, so a second name that a crash in `write_once` left behind loses its bytes too
        file.write(secrets.token_bytes(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileNotFoundError):  # somebody destroyed it at the same time
        path.unlink()
    sync_directory(path.parent)
    return True


def sync_directory(directory: Path) -> None:
    """Make names that were added to or removed from a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
