import hashlib
from datetime import UTC, datetime

import pytest

from boltz_protocol import codec, leaves
from boltz_protocol.errors import MalformedMessageError
from boltz_protocol.leaves import LogLeaf

SALT = bytes(range(32))
LEAF = LogLeaf(
    v=1,
    id="e_1",
    t=datetime(2026, 3, 1, tzinfo=UTC),
    type="update.received",
    actor="mesh",
    subject="s_9",
    round="boltz-core/7",
    detail="ab" * 32,
)


def test_a_leaf_has_one_canonical_form():
    raw = codec.encode(LEAF)
    assert raw == (
        b'{"actor":"mesh","detail":"' + b"ab" * 32 + b'","id":"e_1","round":"boltz-core/7","subject":"s_9",'
        b'"t":"2026-03-01T00:00:00Z","type":"update.received","v":1}'
    )
    assert codec.decode(raw, LogLeaf) == LEAF


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"v":1', b'"v":2'), (b"abab", b"ABAB"), (b'"mesh"', b'""'), (b'"s_9"', b'"s\\n"'), (b'"e_1"', b'"e 1"')],
)
def test_a_leaf_outside_its_form_is_refused(old, new):
    with pytest.raises(MalformedMessageError):
        codec.decode(codec.encode(LEAF).replace(old, new, 1), LogLeaf)


def test_the_hash_of_a_leaf_has_the_prefix_of_leaves():
    assert leaves.leaf_hash(b"leaf") == hashlib.sha256(b"\x00leaf").digest()


def test_the_hash_of_an_empty_leaf_is_the_known_one():
    assert leaves.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_a_commitment_is_the_hash_of_salt_and_detail():
    assert leaves.detail_commitment(SALT, b"{}") == hashlib.sha256(SALT + b"{}").hexdigest()


def test_another_salt_gives_another_commitment():
    assert leaves.detail_commitment(SALT, b"{}") != leaves.detail_commitment(bytes(32), b"{}")


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_salt_of_another_length_is_refused(length):
    with pytest.raises(MalformedMessageError):
        leaves.detail_commitment(bytes(length), b"{}")
