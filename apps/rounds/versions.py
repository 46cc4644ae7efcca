"""What is stored of versions: weights, and the vectors of the server optimizer's state.

Through Django's storage API: written once, named by their digest, verified on read.
"""

import errno
import hashlib
import itertools
import secrets
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.db.models import Q
from django.utils import timezone
from numpy.typing import NDArray

from apps.rounds import stores
from apps.rounds.models import ModelVersion
from boltz_protocol import tensors
from boltz_protocol.errors import ServerFaultError

BLOCK_BYTES = 256 * 1024
# a run that still lives writes and publishes within its lease; nothing holds weights back for a day
ORPHAN_AGE = timedelta(days=1)
DIRECTORIES = 256
_verified: dict[str, tuple[int, int]] = {}
# the clients of a round all ask for its version at once: one thread hashes it, the others wait for the result
_verifying = threading.Lock()


class DamagedVersionError(ServerFaultError):
    """The stored weights are not the ones that were published."""

    default_code = "version_damaged"


class DurableFileSystemStorage(FileSystemStorage):
    """A file system storage whose files are whole or absent, also after a power cut."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:  # noqa: ARG002 - Django's
        """The name itself: it is the digest of the content, so what lies there is the same bytes, or damaged ones."""
        return name

    def _save(self, name: str, content: File) -> str:
        written = getattr(content, "temporary_file_path", None)
        if written is not None and self._take_over(Path(written()), Path(self.path(name))):
            return name
        with stores.partial_file(Path(self.location)) as file:
            for block in content.chunks(BLOCK_BYTES):
                file.write(block)
            stores.publish_file(file, Path(self.path(name)))
        return name

    def _take_over(self, written: Path, target: Path) -> bool:
        """Give a file that lies on the same file system its place; False when it has to be copied."""
        with written.open("rb") as file:
            try:
                stores.publish_file(file, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                return False
        return True


class WrittenFile(File):
    """A file that a storage may take over as it is; Django asks for its path by this method's name."""

    def temporary_file_path(self) -> str:
        """Where it lies."""
        return str(self.file.name)


def storage() -> Storage:
    """The storage that holds the weights of versions."""
    return storages["versions"]


@dataclass(frozen=True)
class StoredTensors:
    """A stored safetensors file: what it is, and what it must be."""

    title: str
    sha256: str
    size: int


def weights_in(version: ModelVersion) -> StoredTensors:
    """The weights of a version."""
    return StoredTensors(f"the weights of {version}", version.weights_sha256, version.weights_bytes)


def state_in(version: ModelVersion) -> StoredTensors | None:
    """The state of the server optimizer that belongs to a version."""
    if not version.state_sha256:
        return None
    return StoredTensors(f"the state vectors of the optimizer of {version}", version.state_sha256, version.state_bytes)


def storage_name(sha256: str) -> str:
    """The name of the file with this digest."""
    return f"{sha256[:2]}/{sha256}.safetensors"


def write_tensors(layout: tensors.Layout, blocks: Iterable[memoryview]) -> tuple[str, int]:
    """Store a vector given as float32 blocks in layout order, once; returns the file's digest and size."""
    digest = hashlib.sha256()
    with stores.partial_file(stores.scratch()) as file:
        for block in itertools.chain([memoryview(tensors.safetensors_header(layout))], blocks):
            digest.update(block)
            file.write(block)
        file.flush()
        size = file.tell()
        sha256 = digest.hexdigest()
        with Path(file.name).open("rb") as whole:
            storage().save(storage_name(sha256), WrittenFile(whole))
    return sha256, size


def verify(version: ModelVersion) -> None:
    """Check the stored weights against the version's digest; again only when size or time have changed.

    Raises:
        DamagedVersionError: missing, or other bytes.
    """
    verify_tensors(weights_in(version))


def verify_tensors(stored: StoredTensors) -> None:
    """Check a stored file against its digest; again only when size or time have changed.

    Raises:
        DamagedVersionError: missing, or other bytes.
    """
    name = storage_name(stored.sha256)
    if not storage().exists(name):
        raise DamagedVersionError(f"{stored.title} are missing")
    stamp = (storage().size(name), int(storage().get_modified_time(name).timestamp() * 1e6))
    if _verified.get(name) == stamp:
        return
    with _verifying:
        if _verified.get(name) != stamp:
            hash_anew(stored)
            _verified[name] = stamp


def verify_anew(version: ModelVersion) -> None:
    """Check all that is stored of a version against its digests, whatever was found before.

    For what is published again: `verify` believes a file whose size and time have not changed, and a disk that rots
    changes neither.

    Raises:
        DamagedVersionError: missing, or other bytes.
    """
    for stored in (weights_in(version), state_in(version)):
        if stored is not None:
            hash_anew(stored)


def hash_anew(stored: StoredTensors) -> None:
    """Hash a stored file.

    Raises:
        DamagedVersionError: missing, or other bytes.
    """
    with open_stored(stored) as file:
        found = hashlib.file_digest(file.file, "sha256").hexdigest()
    if found != stored.sha256:
        raise DamagedVersionError(f"{stored.title} have changed on disk")


def open_stored(stored: StoredTensors) -> File:
    """A stored file.

    Raises:
        DamagedVersionError: missing.
    """
    try:
        return storage().open(storage_name(stored.sha256), "rb")
    except FileNotFoundError as error:
        raise DamagedVersionError(f"{stored.title} are missing") from error


class TensorReader:
    """Reads ranges of a stored vector into float32 arrays. Close it after use."""

    def __init__(self, stored: StoredTensors, layout: tensors.Layout) -> None:
        verify_tensors(stored)
        self._stored = stored
        self._file = open_stored(stored)
        self._start = stored.size - layout.data_bytes

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Numbers [start, stop), float32."""
        out = np.empty(stop - start, "<f4")
        self.read_into(start, out)
        return out

    def read_into(self, start: int, out: NDArray[np.float32]) -> None:
        """The numbers from `start` on, as many as `out` holds.

        Raises:
            DamagedVersionError: the file ends too early.
        """
        self._file.seek(self._start + 4 * start)
        if self._file.readinto(out.data.cast("B")) != out.nbytes:
            raise DamagedVersionError(f"{self._stored.title} end too early")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class WeightsReader(TensorReader):
    """Reads ranges of a version's weights."""

    def __init__(self, version: ModelVersion, layout: tensors.Layout) -> None:
        super().__init__(weights_in(version), layout)


def byte_range(version: ModelVersion, start: int, stop: int) -> Iterator[bytes]:
    """The bytes [start, stop) of the stored file, in blocks."""
    with storage().open(version.storage_name(), "rb") as file:
        file.seek(start)
        left = stop - start
        while left:
            block = file.read(min(BLOCK_BYTES, left))
            if not block:
                raise DamagedVersionError(f"the weights of {version} end too early")
            left -= len(block)
            yield block


def sweep_unpublished() -> int:
    """Remove old files that are no version's, in one of the storage's 256 directories; returns how many.

    A run that loses its fence leaves them behind. They are not removed at once, because the run that won may be about
    to publish the same bytes; that one has written them anew. A random directory each time keeps a tick short.
    """
    directory = f"{secrets.randbelow(DIRECTORIES):02x}"
    try:
        names = [f"{directory}/{name}" for name in storage().listdir(directory)[1]]
    except FileNotFoundError:
        return 0
    horizon = timezone.now() - ORPHAN_AGE
    old = {Path(name).stem: name for name in names if storage().get_modified_time(name) < horizon}
    used = Q(weights_sha256__in=old) | Q(state_sha256__in=old)
    published = ModelVersion.objects.filter(used).values_list("weights_sha256", "state_sha256")
    orphans = old.keys() - set(itertools.chain.from_iterable(published))
    for sha256 in orphans:
        storage().delete(old[sha256])
    return len(orphans)
