"""Envelopes that break one rule each, sealed so that everything around it is right.

place = take_place(enrolled(mesh_http), layout)
assert send(place, seal(place, vector)).status_code == 202                         # a right one
assert refusal(send(place, seal(place, vector, round=2))) == (422, "header_mismatch")
send(place, seal_plain(place, plain(data=nan_bytes, layout=layout)))               # any plaintext at all
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import httpx
import numpy as np
from cryptography.cobblestone import Cobblestone256Encryptor

from boltz_protocol import codec, envelope, signing, tensors
from boltz_protocol.encoding import from_base64url
from boltz_protocol.messages import Claims, EnvelopeHeader, Participation, RoundDescriptor, RoundView
from boltz_protocol.tensors import Layout
from tests.apps.signed_requests import SignedClient, read

API = "/api/v1"
ENVELOPE_TYPE = "application/vnd.boltz.envelope"
CLAIMS = Claims(v=1, examples=60, feature_coverage=1.0, invalid_share=0.0, metrics={}, local_noise=None)


@dataclass(frozen=True)
class Place:
    """One client's place in one round, and what a right envelope there says."""

    client: SignedClient
    descriptor: RoundDescriptor
    upload_id: str
    layout: Layout

    @property
    def path(self) -> str:
        return f"{API}/models/{self.descriptor.model}/rounds/{self.descriptor.round}/updates/{self.upload_id}"

    def header(self, plain_length: int, **changes: Any) -> EnvelopeHeader:
        right = {
            "v": 1,
            "suite": 1,
            "server_kid": self.descriptor.encryption_key.kid,
            "client_kid": self.client.signer.kid,
            "client_id": self.client.record.id,
            "model": self.descriptor.model,
            "round": self.descriptor.round,
            "upload_id": self.upload_id,
            "base_sha256": self.descriptor.base_sha256,
            "layout_digest": self.layout.digest,
            "codec": "safetensors-f32",
            "plain_length": plain_length,
            "created_at": datetime.now(UTC),
        }
        return EnvelopeHeader(**right | changes)


def take_place(client: SignedClient, layout: Layout, model: str = "boltz-core", round_number: int = 1) -> Place:
    """Join a round and read its descriptor."""
    path = f"{API}/models/{model}/rounds/{round_number}"
    joined = read(client.post(f"{path}/participation", {}), Participation)
    return Place(client, descriptor_of(client, path), joined.upload_id, layout)


def descriptor_of(client: SignedClient, path: str) -> RoundDescriptor:
    """The descriptor of the round at `path`, as it is now."""
    view = read(client.get(path), RoundView)
    return codec.decode(from_base64url(view.descriptor.payload), RoundDescriptor)


def seal(place: Place, vector: np.ndarray, *, claims: Claims = CLAIMS, **header_changes: Any) -> bytes:
    """A whole envelope; right but for the changes to its header."""
    return seal_plain(
        place, plain(layout=place.layout, claims=codec.encode(claims), data=raw(vector)), **header_changes
    )


def seal_plain(place: Place, plaintext: bytes, *, plain_length: int | None = None, **header_changes: Any) -> bytes:
    """An envelope around any plaintext."""
    header = place.header(len(plaintext) if plain_length is None else plain_length, **header_changes)
    content_key = Cobblestone256Encryptor.generate_key()
    server_key = signing.rsa_from_jwk(place.descriptor.encryption_key)
    head = envelope._encode_head(header, server_key.encrypt(content_key, envelope._oaep()))
    encryptor = Cobblestone256Encryptor(content_key, hashlib.sha512(head).digest())
    return head + encryptor.update(plaintext) + encryptor.finalize()


def plain(
    *,
    layout: Layout,
    claims: bytes | None = None,
    tensors_header: bytes | None = None,
    data: bytes | None = None,
    claims_length: int | None = None,
    tensors_header_length: int | None = None,
) -> bytes:
    """The plaintext of an envelope from its parts; what is not given is right, the update then being all zeros."""
    claims = codec.encode(CLAIMS) if claims is None else claims
    tensors_header = layout.header[tensors.LENGTH_BYTES :] if tensors_header is None else tensors_header
    return b"".join(
        (
            (len(claims) if claims_length is None else claims_length).to_bytes(4, "big"),
            claims,
            (len(tensors_header) if tensors_header_length is None else tensors_header_length).to_bytes(8, "little"),
            tensors_header,
            bytes(layout.data_bytes) if data is None else data,
        )
    )


def raw(vector: np.ndarray) -> bytes:
    """A vector as it is on the wire."""
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def claims_with(**changes: Any) -> bytes:
    """Canonical claims with other values, also such as no `Claims` can hold."""
    right = {"v": 1, "examples": 60, "feature_coverage": 1.0, "invalid_share": 0.0, "metrics": {}, "local_noise": None}
    return codec.encode(right | changes)


def head_bytes(body: bytes) -> int:
    """How long the part of an envelope is that everybody can read."""
    content = BytesIO(body)
    envelope.read_header(content.read)
    return content.tell()


def flipped(body: bytes, position: int) -> bytes:
    """The same bytes with one bit changed."""
    changed = bytearray(body)
    changed[position] ^= 1
    return bytes(changed)


def send(place: Place, body: bytes, *, path: str | None = None, **changes: Any) -> httpx.Response:
    """PUT an envelope at its place, signed."""
    return place.client.request("PUT", path or place.path, body=body, **{"content_type": ENVELOPE_TYPE} | changes)
