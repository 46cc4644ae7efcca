import json
import secrets
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from apps.keys import key_encryption, key_store
from apps.keys.key_encryption import KeyStoreError
from apps.keys.key_store import KeyMissingError, KeyStore
from boltz_protocol import signing
from boltz_protocol.encoding import base64url

KEK = bytes(range(32))


@pytest.fixture
def store(tmp_path):
    return KeyStore(tmp_path / "keys", KEK)


def new_kid():
    return base64url(secrets.token_bytes(32))


def put_symmetric(store, secret=b"s" * 32):
    kid = new_kid()
    store.put(kid, use="subject", alg="A256GCM", secret=secret)
    return kid


def test_an_ed25519_key_signs(store):
    private_key = Ed25519PrivateKey.generate()
    kid = signing.thumbprint(private_key.public_key().public_bytes_raw())
    store.put(kid, use="sig", alg="EdDSA", secret=private_key.private_bytes_raw())
    signing.verify_signature(private_key.public_key().public_bytes_raw(), store.sign(kid, b"text"), b"text")


def test_an_rsa_key_unwraps_what_was_wrapped_for_it(store):
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    der = private_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    kid = new_kid()
    store.put(kid, use="enc", alg="RSA-OAEP-256", secret=der)
    oaep = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=None)
    content_key = secrets.token_bytes(32)
    assert store.unwrap(kid, private_key.public_key().encrypt(content_key, oaep)) == content_key


def test_sealed_bytes_open_with_the_same_key_and_context_only(store):
    kid, other = put_symmetric(store), put_symmetric(store, b"t" * 32)
    sealed = store.seal(kid, b"plain", b"context")
    assert store.open_sealed(kid, sealed, b"context") == b"plain"
    for wrong in (
        (kid, sealed, b"another"),
        (other, sealed, b"context"),
        (kid, sealed[:-1], b"context"),
        (kid, b"", b"context"),
    ):
        with pytest.raises(KeyStoreError) as caught:
            store.open_sealed(*wrong)
        assert caught.value.code == "sealed_bytes_damaged"


def test_a_key_is_never_replaced(store):
    kid = put_symmetric(store)
    sealed = store.seal(kid, b"plain", b"")
    with pytest.raises(FileExistsError):
        store.put(kid, use="subject", alg="A256GCM", secret=b"other" * 8)
    assert store.open_sealed(kid, sealed, b"") == b"plain"


def test_no_secret_lies_on_the_disk_in_clear(store, tmp_path):
    secret = secrets.token_bytes(32)
    put_symmetric(store, secret)
    written = b"".join(path.read_bytes() for path in (tmp_path / "keys").iterdir())
    for spelling in (secret, secret.hex().encode(), base64url(secret).encode()):
        assert spelling not in written


def test_a_destroyed_key_stops_working_at_once_in_every_process(store, tmp_path):
    other_process = KeyStore(tmp_path / "keys", KEK)
    kid = put_symmetric(store)
    sealed = other_process.seal(kid, b"plain", b"")  # the other one has the key in memory now
    assert store.destroy(kid) is True
    for process in (store, other_process):
        assert not process.exists(kid)
        with pytest.raises(KeyMissingError):
            process.open_sealed(kid, sealed, b"")


def test_destroying_what_is_gone_says_so(store):
    kid = put_symmetric(store)
    assert (store.destroy(kid), store.destroy(kid)) == (True, False)


@pytest.mark.parametrize(
    "kid", ["", "../../etc/passwd", "a" * 42, "a" * 44, "a" * 42 + ".", "a" * 42 + "/", "a" * 43 + "\n"]
)
def test_what_is_not_a_key_id_reaches_no_path(store, kid):
    for method in (store.exists, store.destroy):
        with pytest.raises(KeyMissingError):
            method(kid)


def test_a_key_is_used_for_its_own_algorithm_only(store):
    kid = put_symmetric(store)
    with pytest.raises(KeyStoreError, match="A256GCM"):
        store.sign(kid, b"text")


def test_a_file_moved_to_another_name_does_not_open(store, tmp_path):
    kid, moved = put_symmetric(store), new_kid()
    (tmp_path / "keys" / f"{kid}.key").rename(tmp_path / "keys" / f"{moved}.key")
    with pytest.raises(KeyStoreError) as caught:
        store.seal(moved, b"plain", b"")
    assert caught.value.code == "key_damaged"


@pytest.mark.parametrize("change", [{"use": "staging"}, {"alg": "EdDSA"}])
def test_a_file_whose_purpose_was_edited_does_not_open(store, tmp_path, change):
    kid = put_symmetric(store)
    path = tmp_path / "keys" / f"{kid}.key"
    stored = json.loads(path.read_bytes()) | change
    path.write_bytes(json.dumps(stored, sort_keys=True, separators=(",", ":")).encode())
    with pytest.raises(KeyStoreError) as caught:
        store.seal(kid, b"plain", b"")
    assert caught.value.code == "key_damaged"


def test_a_file_of_rubbish_is_called_damaged(store, tmp_path):
    kid = new_kid()
    (tmp_path / "keys" / f"{kid}.key").write_bytes(b"rubbish")
    with pytest.raises(KeyStoreError) as caught:
        store.seal(kid, b"plain", b"")
    assert caught.value.code == "key_damaged"


def test_a_key_destroyed_while_it_is_being_read_is_missing(store, monkeypatch):
    kid = put_symmetric(store)
    read_bytes = Path.read_bytes

    def too_late(path):
        store._directory.joinpath(path.name).unlink()
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", too_late)
    with pytest.raises(KeyMissingError):
        store.seal(kid, b"plain", b"")


def test_memory_holds_a_bounded_number_of_keys(store, monkeypatch):
    monkeypatch.setattr(key_store, "CACHED_KEYS", 3)
    kids = [put_symmetric(store) for _ in range(5)]
    for kid in kids:
        store.seal(kid, b"plain", b"")
    assert list(store._cache) == kids[-3:]


def test_another_key_encryption_key_is_noticed_before_anything_is_written(store, tmp_path):
    before = sorted((tmp_path / "keys").iterdir())
    with pytest.raises(KeyStoreError, match="not the one that the key directory was made with"):
        KeyStore(tmp_path / "keys", b"x" * 32)
    assert sorted((tmp_path / "keys").iterdir()) == before


def test_a_key_encryption_key_of_another_length_is_refused(tmp_path):
    with pytest.raises(KeyStoreError, match="31 bytes"):
        KeyStore(tmp_path / "keys", b"x" * 31)


def test_a_passphrase_gives_the_same_key_to_every_process_and_another_to_every_store(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    key = key_encryption.key_from_passphrase("correct horse", first)
    assert key == key_encryption.key_from_passphrase("correct horse", first)
    assert (
        len(
            {
                key,
                key_encryption.key_from_passphrase("correct horse", second),
                key_encryption.key_from_passphrase("other", first),
            }
        )
        == 3
    )
    assert len(key) == 32


def test_two_processes_that_start_at_once_agree_on_the_salt(tmp_path, monkeypatch):
    winner = key_encryption.key_from_passphrase("correct horse", tmp_path)
    # the loser looked before the winner wrote
    monkeypatch.setattr(type(tmp_path), "exists", lambda _: False)
    assert key_encryption.key_from_passphrase("correct horse", tmp_path) == winner
