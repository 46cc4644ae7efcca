from datetime import UTC, datetime
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from boltz_client.clock import Clock
from boltz_protocol import envelope, signing, tasks
from boltz_protocol.envelope import EnvelopeError
from boltz_protocol.messages import Participation, RoundDescriptor
from demo import misbehaviour

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def server_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=3072)


@pytest.fixture
def body(server_key, starter):
    layout = tasks.layout_of(starter.task)
    descriptor = RoundDescriptor(
        v=1,
        model="boltz-core",
        round=1,
        base_version=0,
        base_sha256="0" * 64,
        layout_digest=layout.digest,
        policy=starter.policy,
        encryption_key=signing.rsa_jwk(server_key.public_key(), state="current", not_before=NOW),
        max_envelope_bytes=envelope.max_envelope_bytes(layout),
        opens_at=NOW,
        closes_at=NOW,
    )
    place = Participation(v=1, model="boltz-core", round=1, client_id="c_1", upload_id="u_1")
    member = SimpleNamespace(identity=SimpleNamespace(kid="k" * 43), clock=Clock())
    return lambda make: (bytes(make(member, descriptor, place, layout)), layout)


def test_garbage_has_a_head_that_is_right_and_a_stream_that_nobody_opens(body, server_key):
    raw, layout = body(misbehaviour.garbage_body)
    file = BytesIO(raw)
    head = envelope.read_header(file.read)
    assert (head.header.upload_id, head.header.client_kid) == ("u_1", "k" * 43)
    content_key = envelope.unwrap_key(server_key, head.wrapped_key)
    with pytest.raises(EnvelopeError) as refused:
        envelope.open_sealed(head, file.read, content_key=content_key, layout=layout)
    assert refused.value.code == "undecryptable"


def test_nan_is_sealed_as_well_as_any_update(body, server_key):
    raw, layout = body(misbehaviour.nan_body)
    file = BytesIO(raw)
    head = envelope.read_header(file.read)
    content_key = envelope.unwrap_key(server_key, head.wrapped_key)
    opened = envelope.open_sealed(head, file.read, content_key=content_key, layout=layout)
    vector = np.frombuffer(b"".join(bytes(block) for block in opened.blocks()), "<f4")
    assert len(vector) == layout.parameters
    assert np.isnan(vector).all()
