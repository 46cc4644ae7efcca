"""Updates that are sealed and not sent, and the heads of the requests that would send them."""

import hashlib
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boltz_client import FederatedClient
from boltz_client.identity import Identity
from boltz_client.transport import ENVELOPE
from boltz_client.update import SealedUpdate, TrainedUpdate, seal_update
from boltz_core.arrays import Float32Vector
from boltz_protocol import http_signature, tensors
from boltz_protocol.messages import Claims, Participation, RoundDescriptor, TensorSpec
from boltz_protocol.signing import Purpose
from local_stack import ports
from local_stack.mesh import Mesh

CLAIMS = Claims(v=1, examples=100, feature_coverage=1.0, invalid_share=0.0, metrics={}, local_noise=None)
STEP = np.float32(1e-4)


@dataclass(frozen=True)
class Prepared:
    """An update that is sealed and not sent."""

    identity: Identity
    place: Participation
    sealed: SealedUpdate


def made_vector(name: str, parameters: int) -> Float32Vector:
    """Made numbers in [-1, 1)."""
    words = np.frombuffer(hashlib.shake_256(name.encode()).digest(4 * parameters), dtype="<u4")
    return (words / 2.0**31 - 1).astype(np.float32)


def prepared_updates(mesh: Mesh, homes: Path, parameters: int, count: int) -> list[Prepared]:
    """Updates of new clients that have joined the round."""
    layout = tensors.Layout.from_specs([TensorSpec(name="weight", shape=(parameters,))])
    updates = []
    for number in range(count):
        delta = made_vector(f"{homes.name}-{number}", parameters) * STEP
        trained = TrainedUpdate(delta, layout, CLAIMS, float(np.linalg.norm(delta)), clipped=False, metrics={})
        with FederatedClient(f"{homes.name}-{number}", mesh.url, home=homes / str(number)) as client:
            client.register(region="bench")
            updates.append(sealed_for(client, trained))
    return updates


def sealed_for(client: FederatedClient, trained: TrainedUpdate) -> Prepared:
    """Join the open round and seal an update for it."""
    member = client._member()  # noqa: SLF001 - stops before it is sent, which the SDK does not offer
    view = member.endpoints.round("bench", None)
    descriptor = member.keys.verify(view.descriptor, RoundDescriptor, purpose=Purpose.DESCRIPTOR)
    place = member.endpoints.join("bench", view.round)
    sealed = seal_update(trained, descriptor, place, client_kid=member.identity.kid, created_at=member.clock.utc())
    return Prepared(member.identity, place, sealed)


def signed_head(update: Prepared, port: int) -> bytes:
    """The head of the upload's HTTP request, signed now."""
    place = update.place
    path = f"/api/v1/models/{place.model}/rounds/{place.round}/updates/{place.upload_id}"
    digest = http_signature.content_digest(update.sealed.body_sha256)
    authority = f"{ports.LOOPBACK}:{port}"
    parts = http_signature.RequestParts("PUT", authority, path, "", content_type=ENVELOPE, content_digest=digest)
    signature = http_signature.make_signature(
        parts,
        kid=update.identity.kid,
        sign=update.identity.sign,
        nonce=secrets.token_bytes(http_signature.NONCE_BYTES),
        created=int(time.time()),
    )
    fields = {"Host": authority, "Content-Type": ENVELOPE, "Content-Digest": digest}
    fields |= {"Content-Length": str(len(update.sealed.body)), **signature}
    return "".join(
        [f"PUT {path} HTTP/1.1\r\n", *(f"{name}: {text}\r\n" for name, text in fields.items()), "\r\n"]
    ).encode()
