"""The folder in which a client remembers: its key, its registration, the mesh's keys, versions, and what it has sent.

One client at one mesh has one home. Files are written whole or not at all (temporary name, fsync, rename, fsync of the
folder) and readable by their owner only.
"""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from boltz_client.errors import LocalError
from boltz_protocol import codec
from boltz_protocol.errors import MalformedMessageError
from boltz_protocol.messages import Message

M = TypeVar("M", bound=Message)

# code of a file that is not what was written
DAMAGED = "home_damaged"
HOME_VARIABLE = "BOLTZ_CLIENT_HOME"
MAX_FILE_BYTES = 4 << 20


def default_home(name: str, authority: str) -> Path:
    """`<root>/<host_port>/<name>`; the root is BOLTZ_CLIENT_HOME, else ~/.boltz/clients."""
    root = os.environ.get(HOME_VARIABLE)
    clients = Path(root).expanduser() if root else Path.home() / ".boltz" / "clients"
    return clients / file_name_of(authority.replace(":", "_")) / file_name_of(name)


def file_name_of(label: str) -> str:
    """A file name for any label; labels that had to change get a digest, so that no two share a file."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", label).lstrip(".")[:100]
    return plain if plain == label else f"{plain}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


class AlreadyThereError(LocalError):
    """Another process was faster to write the file."""

    default_code = "already_there"


class Home:
    """One client's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, *parts: str) -> Path:
        """A path inside the home; each part becomes a single safe file name."""
        return self.folder.joinpath(*(file_name_of(part) for part in parts))

    def read(self, kind: type[M], *parts: str) -> M | None:
        """The message stored under `parts`, or None.

        Raises:
            LocalError: the file is damaged.
        """
        path = self.path(*parts)
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            return codec.decode(raw, kind, max_bytes=MAX_FILE_BYTES)
        except MalformedMessageError as error:
            raise LocalError(
                f"{path} is damaged ({error.message}); move it away and call again", code=DAMAGED
            ) from error

    def write(self, message: Message, *parts: str, exclusive: bool = False) -> None:
        """Store a message durably under `parts`; `exclusive`: only where nothing is yet.

        Raises:
            AlreadyThereError: something is, and it was left alone.
        """
        with self.writing(*parts, exclusive=exclusive) as file:
            file.write(codec.encode(message))

    @contextlib.contextmanager
    def writing(self, *parts: str, exclusive: bool = False, durable: bool = True) -> Iterator[BinaryIO]:
        """A file that takes its name once the block has ended well, and leaves nothing when it has not.

        `durable`: what is written is on the disk when the block has ended, and stays there through a power cut.

        Raises:
            AlreadyThereError: `exclusive`, and the name is taken.
            LocalError: it cannot be written.
        """
        path = self.path(*parts)
        try:
            make_private_folder(path.parent)
            descriptor, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
            try:
                with os.fdopen(descriptor, "w+b") as file:
                    yield file
                    file.flush()
                    if durable:
                        os.fsync(file.fileno())
                _name(Path(temporary), path, exclusive=exclusive)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            if durable:
                sync_folder(path.parent)
        except OSError as error:
            raise _unusable(path, error) from error

    def forget(self, *parts: str) -> None:
        """Remove a file, if it is there."""
        self.path(*parts).unlink(missing_ok=True)


def make_private_folder(folder: Path) -> None:
    """Make the folder and those above it that are missing, open to their owner only."""
    for missing in reversed([folder, *folder.parents]):
        if not missing.exists():
            missing.mkdir(mode=0o700, exist_ok=True)


def _name(temporary: Path, path: Path, *, exclusive: bool) -> None:
    if not exclusive:
        temporary.replace(path)
        return
    try:
        path.hardlink_to(temporary)  # unlike a rename, fails where the name is taken
    except FileExistsError as error:
        raise AlreadyThereError(f"{path} is already there") from error
    temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename inside the folder durable, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> LocalError:
    return LocalError(
        f"{path} cannot be used ({error.strerror}); pass home=... or set {HOME_VARIABLE} to a folder of yours",
        code="home_unusable",
    )
