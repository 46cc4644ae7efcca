"""Versions on this machine: a signed manifest, and the weights it promises, kept under their digest.

Kept weights that still have the digest of the manifest are asked for by that digest (If-None-Match), and the mesh sends
no weights. What it answers cannot put other bytes in their place: only the signed manifest says which ones are right.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boltz_client import artifact, dataset
from boltz_client.endpoints import Endpoints
from boltz_client.errors import LocalError, UntrustedMeshError
from boltz_client.home import Home
from boltz_client.pinning import MeshKeys
from boltz_protocol import tasks, tensors
from boltz_protocol.errors import SenderError
from boltz_protocol.messages import VersionManifest
from boltz_protocol.signing import Purpose
from boltz_protocol.tensors import Float32Vector, Layout

FOLDER = "models"
KEPT_VERSIONS = 3


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


class VersionCache:
    """The versions in one home."""

    def __init__(self, home: Home, endpoints: Endpoints, keys: MeshKeys) -> None:
        self._home, self._endpoints, self._keys = home, endpoints, keys

    def pull(self, model: str, number: int | None = None) -> PulledModel:
        """Get a version (None: the latest); weights that are kept and current are not sent again.

        Raises:
            UntrustedMeshError: manifest or weights do not hold.
        """
        document = self._endpoints.manifest(model, number)
        manifest = self._keys.verify(document, VersionManifest, purpose=Purpose.MANIFEST)
        if manifest.model != model or number not in {None, manifest.number}:
            raise UntrustedMeshError(
                f"asked for {model} version {number}, got the manifest of {manifest.model} version {manifest.number}"
            )
        layout = layout_in(manifest)
        vector = self._current(manifest, layout)
        self._home.write(document, FOLDER, model, "manifest.json")
        return PulledModel(manifest, layout, vector)

    def _current(self, manifest: VersionManifest, layout: Layout) -> Float32Vector:
        """The weights of a verified manifest: kept ones as soon as the mesh has confirmed them, else downloaded."""
        kept = self._kept(manifest, layout)
        if kept is not None:
            artifact.confirm(self._endpoints, manifest)
            return kept
        artifact.download(self._endpoints, manifest, self._home, *_weights_parts(manifest))
        self._prune(manifest.model)
        fetched = self._kept(manifest, layout)
        if fetched is None:
            raise LocalError(
                f"the weights of {manifest.model} version {manifest.number} changed on this disk as soon as they were "
                "written; is it failing, or another program in this home?",
                code="home_damaged",
            )
        return fetched

    def _kept(self, manifest: VersionManifest, layout: Layout) -> Float32Vector | None:
        """The kept weights, if they are there and whole."""
        path = self._home.path(*_weights_parts(manifest))
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(raw).hexdigest() != manifest.weights_sha256:
            path.unlink()  # damaged on this disk: fetched again
            return None
        try:
            return tensors.decode_safetensors(raw, layout)
        except SenderError as error:
            path.unlink()
            raise UntrustedMeshError(f"the weights do not fit the signed manifest: {error.message}") from error

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


def _weights_parts(manifest: VersionManifest) -> tuple[str, str, str]:
    return FOLDER, manifest.model, f"{manifest.weights_sha256}.safetensors"
