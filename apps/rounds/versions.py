"""The weights of versions, through Django's storage API: written once, named by their digest, verified on read."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from django.conf import settings
from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from numpy.typing import NDArray

from apps.rounds import stores
from apps.rounds.models import ModelVersion
from boltz_protocol import tensors
from boltz_protocol.errors import ServerFaultError

BLOCK_BYTES = 256 * 1024
_verified: dict[str, tuple[int, int]] = {}


class DamagedVersionError(ServerFaultError):
    """The stored weights are not the ones that were published."""

    default_code = "version_damaged"


class DurableFileSystemStorage(FileSystemStorage):
    """A file system storage whose files are whole or absent, also after a power cut."""

    def get_available_name(self, name: str, max_length: int | None = None) -> str:  # noqa: ARG002 - Django's
        """The name itself: it is the digest of the content, so what lies there is the same bytes, or damaged ones."""
        return name

    def _save(self, name: str, content: File) -> str:
        with stores.partial_file(Path(self.location)) as file:
            for block in content.chunks(BLOCK_BYTES):
                file.write(block)
            stores.publish_file(file, Path(self.path(name)))
        return name


def storage() -> Storage:
    """The storage that holds the weights of versions."""
    return storages["versions"]


def storage_name(sha256: str) -> str:
    """The name of the weights with this digest."""
    return f"{sha256[:2]}/{sha256}.safetensors"


def write_weights(layout: tensors.Layout, blocks: Iterable[memoryview]) -> tuple[str, int]:
    """Store weights given as float32 blocks in layout order, once; returns their digest and size."""
    digest = hashlib.sha256()
    with stores.partial_file(Path(settings.BOLTZ_DATA_DIR) / "scratch") as file:
        for block in itertools.chain([memoryview(tensors.safetensors_header(layout))], blocks):
            digest.update(block)
            file.write(block)
        file.flush()
        size = file.tell()
        sha256 = digest.hexdigest()
        with Path(file.name).open("rb") as whole:
            storage().save(storage_name(sha256), File(whole))
    return sha256, size


def verify(version: ModelVersion) -> None:
    """Check the stored weights against the version's digest; again only when size or time have changed.

    Raises:
        DamagedVersionError: missing, or other bytes.
    """
    name = version.storage_name()
    if not storage().exists(name):
        raise DamagedVersionError(f"the weights of {version} are missing")
    stamp = (storage().size(name), int(storage().get_modified_time(name).timestamp() * 1e6))
    if _verified.get(name) == stamp:
        return
    with storage().open(name, "rb") as file:
        found = hashlib.file_digest(file.file, "sha256").hexdigest()
    if found != version.weights_sha256:
        raise DamagedVersionError(f"the weights of {version} have changed on disk")
    _verified[name] = stamp


class WeightsReader:
    """Reads ranges of a version's vector into float32 arrays. Close it after use."""

    def __init__(self, version: ModelVersion, layout: tensors.Layout) -> None:
        verify(version)
        self._file = storage().open(version.storage_name(), "rb")
        self._start = version.weights_bytes - layout.data_bytes

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Parameters [start, stop), float32."""
        self._file.seek(self._start + 4 * start)
        raw = self._file.read(4 * (stop - start))
        return np.frombuffer(raw, dtype="<f4")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
