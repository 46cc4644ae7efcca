"""Versions on this machine: a signed manifest, and the weights it promises, kept under their digest.

The manifest at hand is named when the newest one is asked for (If-None-Match): a client that is current receives
neither a manifest nor weights. A round names its base by digest, so a base at hand needs no request at all. Weights
stay in their file until they are asked for, and can be read twice: a round needs no more than two models in memory.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boltz_client import artifact, dataset
from boltz_client.endpoints import Endpoints
from boltz_client.errors import LocalError, UntrustedMeshError
from boltz_client.home import DAMAGED, Home
from boltz_client.pinning import MeshKeys
from boltz_protocol import tasks, tensors
from boltz_protocol.errors import SenderError
from boltz_protocol.messages import SignedDocument, VersionManifest
from boltz_protocol.signing import Purpose
from boltz_protocol.tensors import Float32Vector, Layout

FOLDER = "models"
KEPT_VERSIONS = 3
BLOCK_PARAMETERS = 1 << 16


@dataclass(frozen=True)
class PulledModel:
    """A verified version. `weights` are read-only views of `vector`."""

    manifest: VersionManifest
    layout: Layout
    vector: Float32Vector

    @property
    def weights(self) -> Mapping[str, NDArray[np.float32]]:
        """The weights by name."""
        return tensors.unflatten(self.vector, self.layout)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predict the target from raw features: a table with the task's columns, or an array in their order.

        Raises:
            DataError: other columns, or values that are missing or infinite.
            TaskError: a custom task, which only its own code can predict.
        """
        task = self.manifest.task
        return tasks.predict(task, self.weights, dataset.scale(task, dataset.raw_features(task, X)))


@dataclass(frozen=True)
class KeptVersion:
    """A verified version whose weights lie in a file of this home."""

    manifest: VersionManifest
    layout: Layout
    path: Path

    def check_header(self) -> None:
        """See that the file is the model.

        Raises:
            UntrustedMeshError: it has the digest that was promised, and is not; it is removed.
        """
        with self.path.open("rb", buffering=0) as file:
            head = file.read(self._start)
        try:
            if int.from_bytes(head[: tensors.LENGTH_BYTES], "little") != self._start - tensors.LENGTH_BYTES:
                raise tensors.TensorsError("the length of their header is another one")
            tensors.parse_safetensors_header(head[tensors.LENGTH_BYTES :], self.layout)
        except SenderError as error:
            self.path.unlink()
            raise UntrustedMeshError(f"the weights do not fit the signed manifest: {error.message}") from error

    def read(self) -> Float32Vector:
        """The weights, read-only.

        Raises:
            LocalError: the file was cut or removed after it had been found to be whole.
        """
        # numpy asks for huge pages, which a bytes object of this size does not get
        content = np.empty(self.manifest.weights_bytes, np.uint8)
        with self._opened() as file:
            self._read_into(file, content.data)
        try:
            vector = tensors.decode_safetensors(content.data, self.layout)
        except SenderError as error:
            raise self._changed() from error
        vector.flags.writeable = False
        return vector

    def subtract_from(self, vector: Float32Vector) -> None:
        """Take the weights from `vector` in place, block by block, without a second copy of the model.

        Raises:
            LocalError: as `read`.
        """
        block = np.empty(BLOCK_PARAMETERS, "<f4")
        with self._opened() as file:
            file.seek(self._start)
            for start in range(0, len(vector), BLOCK_PARAMETERS):
                part = vector[start : start + BLOCK_PARAMETERS]
                self._read_into(file, block[: len(part)].data.cast("B"))
                part -= block[: len(part)]

    @property
    def _start(self) -> int:
        """Where the numbers begin in the file."""
        return self.manifest.weights_bytes - self.layout.data_bytes

    def _opened(self) -> FileIO:
        try:
            return FileIO(self.path)
        except OSError as error:
            raise self._changed() from error

    def _read_into(self, file: FileIO, view: memoryview) -> None:
        """Fill the view; a single read of a large file may give less."""
        while view:
            count = file.readinto(view)
            if not count:
                raise self._changed()
            view = view[count:]

    def _changed(self) -> LocalError:
        return LocalError(f"{self.path} was changed while it was in use; call again", code=DAMAGED)

    def pulled(self) -> PulledModel:
        """The version with its weights in memory."""
        return PulledModel(self.manifest, self.layout, self.read())


class VersionCache:
    """The versions in one home."""

    def __init__(self, home: Home, endpoints: Endpoints, keys: MeshKeys) -> None:
        self._home, self._endpoints, self._keys = home, endpoints, keys
        # files whose digest was found to be right, by what says that they are still the same
        self._whole: dict[Path, tuple[int, int, int]] = {}

    def pull(self, model: str, number: int | None = None) -> KeptVersion:
        """Get a version (None: the latest); weights that are kept and current are not sent again.

        Raises:
            UntrustedMeshError: manifest or weights do not hold.
        """
        at_hand = self._manifest_at_hand(model)
        document = self._endpoints.manifest(model, number, at_hand=at_hand)
        manifest = self._keys.verify(document, VersionManifest, purpose=Purpose.MANIFEST)
        if manifest.model != model or number not in {None, manifest.number}:
            raise UntrustedMeshError(
                f"asked for {model} version {number}, got the manifest of {manifest.model} version {manifest.number}"
            )
        version = self._kept(manifest) or self._fetched(manifest)
        if document != at_hand:
            self._home.write(document, *_manifest_parts(model))
        return version

    def at_hand(self, model: str, number: int, weights_sha256: str) -> KeptVersion | None:
        """The version that was pulled last, if it is this one, verified and whole. None: pull it."""
        document = self._manifest_at_hand(model)
        if document is None:
            return None
        try:
            manifest = self._keys.verify(document, VersionManifest, purpose=Purpose.MANIFEST)
        except UntrustedMeshError:
            # kept from a mesh that is not trusted any more, or altered here: the mesh of today is asked
            return None
        if (manifest.model, manifest.number, manifest.weights_sha256) != (model, number, weights_sha256):
            return None
        return self._kept(manifest)

    def _manifest_at_hand(self, model: str) -> SignedDocument | None:
        """The manifest that was pulled last; a damaged one is no loss, since the mesh has it too."""
        try:
            return self._home.read(SignedDocument, *_manifest_parts(model))
        except LocalError as error:
            if error.code != DAMAGED:
                raise
            return None

    def _fetched(self, manifest: VersionManifest) -> KeptVersion:
        """The weights of a verified manifest, downloaded."""
        layout = layout_in(manifest)
        path = self._home.path(*_weights_parts(manifest))
        artifact.download(self._endpoints, manifest, self._home, *_weights_parts(manifest))
        version = KeptVersion(manifest, layout, path)
        version.check_header()
        self._whole[path] = _stamp(path)
        self._prune(manifest.model)
        return version

    def _kept(self, manifest: VersionManifest) -> KeptVersion | None:
        """The kept weights, if they are there and whole."""
        layout = layout_in(manifest)
        path = self._home.path(*_weights_parts(manifest))
        try:
            stamp = _stamp(path)
            if self._whole.get(path) != stamp and _digest_of(path) != manifest.weights_sha256:
                path.unlink()  # damaged on this disk: fetched again
                return None
        except FileNotFoundError:
            return None
        version = KeptVersion(manifest, layout, path)
        version.check_header()
        self._whole[path] = stamp
        return version

    def _prune(self, model: str) -> None:
        files = self._home.path(FOLDER, model).glob("*.safetensors")
        for old in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True)[KEPT_VERSIONS:]:
            old.unlink(missing_ok=True)


def layout_in(manifest: VersionManifest) -> Layout:
    """The layout of a verified manifest, after checking that layout, task and sizes agree.

    Raises:
        UntrustedMeshError: they do not; a download of that size must not even start.
    """
    try:
        layout = Layout.from_specs(manifest.layout)
        tasks.check_task(manifest.task)
        computed = layout if manifest.task.kind == "custom" else tasks.layout_of(manifest.task)
    except SenderError as error:
        raise UntrustedMeshError(f"the manifest contradicts itself: {error.message}") from error
    if layout != computed or layout.digest != manifest.layout_digest:
        raise UntrustedMeshError("the manifest contradicts itself: its layout is not that of its task")
    surplus = manifest.weights_bytes - layout.data_bytes
    if not tensors.LENGTH_BYTES < surplus <= tensors.LENGTH_BYTES + tensors.MAX_SAFETENSORS_HEADER_BYTES:
        raise UntrustedMeshError(f"the manifest contradicts itself: {manifest.weights_bytes} bytes for its layout")
    return layout


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written to or replaced."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest_parts(model: str) -> tuple[str, str, str]:
    return FOLDER, model, "manifest.json"


def _weights_parts(manifest: VersionManifest) -> tuple[str, str, str]:
    return FOLDER, manifest.model, f"{manifest.weights_sha256}.safetensors"
