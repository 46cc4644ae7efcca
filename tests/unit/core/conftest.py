"""Real sealed envelopes for the tests of the core."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from boltz_protocol import envelope
from boltz_protocol.messages import Claims, EnvelopeHeader, TensorSpec
from boltz_protocol.tensors import Layout


@pytest.fixture(scope="session")
def private_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=3072)


@pytest.fixture(scope="session")
def claims():
    return Claims(v=1, examples=120, feature_coverage=1.0, invalid_share=0.25, metrics={"mse": 0.5}, local_noise=None)


@pytest.fixture(scope="session")
def layout_of_size():
    def make(parameters):
        return Layout.from_specs([TensorSpec(name="weight", shape=(parameters,))])

    return make


@pytest.fixture
def seal_update(private_key, claims, layout_of_size):
    """Give the envelope of a vector as bytes."""

    def seal(vector):
        layout = layout_of_size(len(vector))
        header = EnvelopeHeader(
            v=1,
            suite=1,
            server_kid="s" * 43,
            client_kid="c" * 43,
            client_id="c_1",
            model="boltz-core",
            round=1,
            upload_id="u_1",
            base_sha256="0" * 64,
            layout_digest=layout.digest,
            codec="safetensors-f32",
            plain_length=envelope.plain_length(claims, layout),
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        file = io.BytesIO()
        envelope.seal(header, claims, vector, layout, server_key=private_key.public_key(), write=file.write)
        return file.getvalue()

    return seal


@pytest.fixture
def open_update(private_key):
    """Open an envelope as the server does."""

    def open_(raw, layout):
        file = io.BytesIO(raw)
        head = envelope.read_header(file.read)
        key = envelope.unwrap_key(private_key, head.wrapped_key)
        return envelope.open_sealed(head, file.read, content_key=key, layout=layout)

    return open_


@pytest.fixture
def opened_update(seal_update, open_update, layout_of_size):
    """Seal a vector and open it again."""

    def make(values):
        vector = np.array(values, dtype=np.float32)
        return open_update(seal_update(vector), layout_of_size(len(vector)))

    return make
