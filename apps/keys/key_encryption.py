"""The key-encryption key: where it comes from, and the proof that it is the one this key store was made with.

It is 32 bytes given by the environment or a file, or derived from a passphrase by Argon2id with a salt that lies in the
key directory. A sealed constant beside the keys shows at the first use whether it is right, before a key is written
under a wrong one.

Source: RFC 9106, section 4, second recommended option (64 MiB).
"""

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from apps.keys import durable_files
from boltz_protocol.errors import ServerFaultError

KEY_BYTES = 32
NONCE_BYTES = 12
SALT_BYTES = 16
SALT_FILE = "passphrase.salt"
CHECK_FILE = "key-encryption.check"
CHECK_TEXT = b"this key store opens"
ARGON2_ITERATIONS = 3
ARGON2_LANES = 4
ARGON2_MEMORY_KIB = 64 * 1024


class KeyStoreError(ServerFaultError):
    """The key store cannot be opened, or something in it is not what it should be."""

    default_code = "key_store_failed"


def key_from_passphrase(passphrase: str, directory: Path) -> bytes:
    """Derive the key-encryption key; the salt is made on first use and is the same for every process."""
    durable_files.make_directory(directory)
    path = directory / SALT_FILE
    if not path.exists():
        _write_unless_there(path, secrets.token_bytes(SALT_BYTES))
    kdf = Argon2id(
        salt=path.read_bytes(),
        length=KEY_BYTES,
        iterations=ARGON2_ITERATIONS,
        lanes=ARGON2_LANES,
        memory_cost=ARGON2_MEMORY_KIB,
    )
    return kdf.derive(passphrase.encode())


def check_key(key: bytes, directory: Path) -> None:
    """Check that `key` is the one that this directory's keys are sealed under; the first one ever used becomes it.

    Raises:
        KeyStoreError: another key, or not 32 bytes.
    """
    if len(key) != KEY_BYTES:
        raise KeyStoreError(f"the key-encryption key has {len(key)} bytes; it must have {KEY_BYTES}")
    durable_files.make_directory(directory)
    path = directory / CHECK_FILE
    if not path.exists():
        _write_unless_there(path, seal(key, CHECK_TEXT, CHECK_FILE.encode()))
    try:
        open_sealed(key, path.read_bytes(), CHECK_FILE.encode())
    except InvalidTag as error:
        raise KeyStoreError(
            "the key-encryption key (or passphrase) is not the one that the key directory was made with; "
            "restore the right one, or the key directory that belongs to this one"
        ) from error


def seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """AES-256-GCM: 12 random bytes of nonce, ciphertext, tag. At most 2^32 times a key (NIST SP 800-38D, 8.3)."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, aad)


def open_sealed(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """The plaintext of `seal`.

    Raises:
        InvalidTag: another key, other associated data, or damaged bytes.
    """
    if len(sealed) < NONCE_BYTES:
        raise InvalidTag
    return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)


def _write_unless_there(path: Path, content: bytes) -> None:
    """Write a file that several processes may be about to write: the first one wins."""
    try:
        durable_files.write_once(path, content)
    except FileExistsError:
        return
