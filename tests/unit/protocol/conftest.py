"""Keys and one update, shared by the protocol's tests. Keys are made once: an RSA key costs a third of a second."""

from datetime import UTC, datetime

import hypothesis
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from boltz_protocol import signing
from boltz_protocol.envelope import plain_length
from boltz_protocol.messages import Claims, EnvelopeHeader
from boltz_protocol.tensors import Layout

# Machines under load are slow for reasons that say nothing about the code.
hypothesis.settings.register_profile("protocol", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("protocol")


@pytest.fixture(scope="session")
def server_key():
    return generate_private_key(65537, 3072)


@pytest.fixture(scope="session")
def client_key():
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="session")
def client_public(client_key):
    return client_key.public_key().public_bytes_raw()


@pytest.fixture(scope="session")
def client_kid(client_public):
    return signing.thumbprint(client_public)


@pytest.fixture(scope="session")
def claims():
    return Claims(
        v=1, examples=1200, feature_coverage=1.0, invalid_share=0.01, metrics={"r2": 0.47, "mse": 2.0}, local_noise=None
    )


@pytest.fixture(scope="session")
def layout():
    return Layout.of({"weight": np.zeros(12), "bias": np.zeros(1)})


@pytest.fixture(scope="session")
def make_header(claims, client_kid, server_key):
    """Make the header of an update of a layout, with any field changed."""

    def make(layout, **changes):
        numbers = server_key.public_key().public_numbers()
        fields = {
            "v": 1,
            "suite": 1,
            "server_kid": signing.rsa_thumbprint(numbers.n, numbers.e),
            "client_kid": client_kid,
            "client_id": "c_7",
            "model": "boltz-core",
            "round": 7,
            "upload_id": "u_42",
            "base_sha256": "ab" * 32,
            "layout_digest": layout.digest,
            "codec": "safetensors-f32",
            "plain_length": plain_length(claims, layout),
            "created_at": datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        }
        return EnvelopeHeader(**{**fields, **changes})

    return make
