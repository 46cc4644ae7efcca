"""The download of a version's weights.

It is bounded by the manifest, resumed where it broke off, and believed only once hashed.
"""

import hashlib
from dataclasses import dataclass, field
from typing import BinaryIO

import httpx

from boltz_client.endpoints import Endpoints
from boltz_client.errors import MeshAnswerError, ServerUnreachableError, UntrustedMeshError
from boltz_client.home import Home
from boltz_client.progress import Progress
from boltz_client.retries import FOR_UPLOADS, TransientError
from boltz_protocol.messages import VersionManifest


@dataclass
class _Partial:
    """What has arrived so far."""

    file: BinaryIO
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    received_bytes: int = 0

    def start_over(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.sha256, self.received_bytes = hashlib.sha256(), 0

    def add(self, block: bytes) -> None:
        self.file.write(block)
        self.sha256.update(block)
        self.received_bytes += len(block)


def download(endpoints: Endpoints, manifest: VersionManifest, home: Home, *parts: str) -> None:
    """Fetch the weights of a verified manifest into the home, under `parts`.

    Raises:
        UntrustedMeshError: other bytes than the manifest promises; nothing is kept.
        ServerUnreachableError: the transfer broke off too often.
    """
    progress = Progress(f"fetching {manifest.model} version {manifest.number}", manifest.weights_bytes)
    # what a power cut may take from it is noticed by its digest, and fetched again
    with home.writing(*parts, durable=False) as file:
        partial = _Partial(file)
        endpoints.transport.retrying(lambda: _fetch_rest(endpoints, manifest, partial, progress), policy=FOR_UPLOADS)
        if partial.sha256.hexdigest() != manifest.weights_sha256:
            raise UntrustedMeshError(
                f"the weights of {manifest.model} version {manifest.number} do not have the digest of the "
                "signed manifest; nothing was kept"
            )


def _fetch_rest(endpoints: Endpoints, manifest: VersionManifest, partial: _Partial, progress: Progress) -> None:
    """One attempt: from where the last one broke off to the end."""
    headers = {}
    if partial.received_bytes:
        headers = {"Range": f"bytes={partial.received_bytes}-", "If-Range": _etag(manifest)}
    call, signer = endpoints.artifact(manifest.model, manifest.number, headers=headers)
    with endpoints.transport.stream(call, signer=signer) as response:
        _check_etag(response, manifest)
        if response.status_code == httpx.codes.NOT_MODIFIED:
            raise MeshAnswerError(
                f"the mesh answered 304 (not modified) for the weights of {manifest.model} version {manifest.number}, "
                "of which this home keeps none; call again, and tell the operator if it stays so"
            )
        _check_position(response, manifest, partial)
        for block in response.iter_bytes():
            if partial.received_bytes + len(block) > manifest.weights_bytes:
                raise UntrustedMeshError(
                    f"the weights are longer than the {manifest.weights_bytes} bytes of the manifest"
                )
            partial.add(block)
            progress.at(partial.received_bytes)
    if partial.received_bytes < manifest.weights_bytes:
        raise TransientError(
            ServerUnreachableError(
                f"the weights broke off at {partial.received_bytes} of {manifest.weights_bytes} bytes; call again"
            )
        )


def _etag(manifest: VersionManifest) -> str:
    return f'"{manifest.weights_sha256}"'


def _check_etag(response: httpx.Response, manifest: VersionManifest) -> None:
    """An answer without an ETag is judged by its bytes alone."""
    if response.headers.get("ETag", _etag(manifest)) != _etag(manifest):
        raise UntrustedMeshError("the weights offered are not those of the signed manifest (ETag)")


def _check_position(response: httpx.Response, manifest: VersionManifest, partial: _Partial) -> None:
    """A part must begin where the last one ended; a whole answer starts over."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        partial.start_over()
        return
    last = manifest.weights_bytes - 1
    if response.headers.get("Content-Range") != f"bytes {partial.received_bytes}-{last}/{manifest.weights_bytes}":
        raise UntrustedMeshError("the mesh sent another part of the weights than was asked for")
