"""Two clients that nobody wants: one sends garbage, one sends NaN.

Both sign correctly, so both get as far as the mesh lets them. They use the SDK's own steps and replace one of them: the
trained update by numbers that are none, or the sealed stream by random bytes. The SDK refuses to send either by itself.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np

from boltz_client import open_round, participation, update
from boltz_client.member import Member
from boltz_client.update import SealedUpdate, TrainedUpdate
from boltz_protocol import envelope
from boltz_protocol.messages import Claims, Participation, RoundDescriptor
from boltz_protocol.tensors import Layout

CLAIMS = Claims(v=1, examples=250, feature_coverage=1.0, invalid_share=0.0, metrics={}, local_noise=None)


def send_misbehaving(member: Member, model: str, number: int, misbehaviour: str) -> Participation:
    """Join a round and send an update that has to be refused; returns where it was sent."""
    view = member.endpoints.round(model, number)
    descriptor = open_round.descriptor_in(member, view, model=model, number=number)
    layout = participation.pull_base(member, descriptor).layout
    place = member.endpoints.join(model, number)
    body = BODIES[misbehaviour](member, descriptor, place, layout)
    member.endpoints.send_update(place, body, body_sha256=hashlib.sha256(body).digest())
    return place


def nan_body(member: Member, descriptor: RoundDescriptor, place: Participation, layout: Layout) -> bytearray:
    """A perfect envelope around a vector of NaN."""
    return _sealed(member, descriptor, place, layout, value=np.nan).body


def garbage_body(member: Member, descriptor: RoundDescriptor, place: Participation, layout: Layout) -> bytearray:
    """A correct head, and after it nothing but random bytes."""
    body = _sealed(member, descriptor, place, layout, value=0.0).body
    rest = BytesIO(body)
    envelope.read_header(rest.read)
    body[rest.tell() :] = os.urandom(len(body) - rest.tell())
    return body


BODIES: Mapping[str, Callable[[Member, RoundDescriptor, Participation, Layout], bytearray]] = {
    "garbage": garbage_body,
    "nan": nan_body,
}


def _sealed(
    member: Member, descriptor: RoundDescriptor, place: Participation, layout: Layout, *, value: float
) -> SealedUpdate:
    delta = np.full(layout.parameters, value, np.float32)
    trained = TrainedUpdate(delta, layout, CLAIMS, norm=0.0, clipped=False, metrics={})
    return update.seal_update(trained, descriptor, place, client_kid=member.identity.kid, created_at=member.clock.utc())
