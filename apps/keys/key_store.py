"""The key store: private and secret keys that must be destroyable, so they lie outside Postgres and its backups.

One file a key, `<kid>.key`: canonical JSON with use, algorithm and the secret (raw bytes, or RSA as PKCS#1 DER) sealed
under the key-encryption key with `kid|use|alg` as associated data, so that a file moved to another name or purpose does
not open. Callers name keys and never hold one, so that a KMS or a PKCS#11 token can stand behind the same methods.

Unwrapped keys are kept in memory, a bounded number of them, and used only while their file exists: what one process
destroys stops working in every other at once. Python cannot wipe memory; a destroyed key may stay in a process until it
is evicted or the process ends.
"""

import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from apps.keys import durable_files, key_encryption
from apps.keys.key_encryption import KeyStoreError
from boltz_protocol import codec, encoding, envelope
from boltz_protocol.errors import MalformedMessageError
from boltz_protocol.messages import Base64Url, KeyId, Message

Algorithm = Literal["EdDSA", "RSA-OAEP-256", "A256GCM"]
Use = Literal["sig", "enc", "staging", "subject"]
PrivateKey = Ed25519PrivateKey | RSAPrivateKey | bytes

CACHED_KEYS = 64
KID_PATTERN = re.compile(r"\A[A-Za-z0-9_-]{43}\Z")

SEALED_BYTES_DAMAGED = "sealed_bytes_damaged"


class KeyMissingError(KeyStoreError):
    """The key was destroyed, or never was in this store."""

    default_code = "key_missing"


class StoredKey(Message):
    """One key file."""

    v: Literal[1]
    kid: KeyId
    use: Use
    alg: Algorithm
    sealed: Base64Url


class KeyStore:
    """The keys of one directory under one key-encryption key. Safe to share between threads, and between processes."""

    def __init__(self, directory: Path, key_encryption_key: bytes) -> None:
        key_encryption.check_key(key_encryption_key, directory)
        self._directory = directory
        self._key_encryption_key = key_encryption_key
        self._cache: OrderedDict[str, tuple[Algorithm, PrivateKey]] = OrderedDict()
        self._cache_lock = threading.Lock()

    def put(self, kid: str, *, use: Use, alg: Algorithm, secret: bytes) -> None:
        """Store a new key; on return it is on the disk.

        Raises:
            FileExistsError: there is a key of this id; a key is never replaced.
        """
        sealed = key_encryption.seal(self._key_encryption_key, secret, _associated_data(kid, use, alg))
        stored = StoredKey(v=1, kid=kid, use=use, alg=alg, sealed=encoding.base64url(sealed))
        durable_files.write_once(self._path(kid), codec.encode(stored))

    def exists(self, kid: str) -> bool:
        """Whether the key is there; the only question whose answer may be no."""
        return self._path(kid).exists()

    def destroy(self, kid: str) -> bool:
        """Overwrite and remove a key, durably; False when it is not there. Every process stops using it at once."""
        with self._cache_lock:
            self._cache.pop(kid, None)
        return durable_files.destroy(self._path(kid))

    def sign(self, kid: str, message: bytes) -> bytes:
        """Sign with an Ed25519 key."""
        key = self._unwrapped(kid, "EdDSA")
        assert isinstance(key, Ed25519PrivateKey)  # noqa: S101 - `_unwrapped` gives what the algorithm says
        return key.sign(message)

    def unwrap(self, kid: str, wrapped: bytes) -> bytes:
        """The content key that an RSA key wraps.

        Raises:
            EnvelopeError: it was not wrapped for this key.
        """
        key = self._unwrapped(kid, "RSA-OAEP-256")
        assert isinstance(key, RSAPrivateKey)  # noqa: S101 - the same
        return envelope.unwrap_key(key, wrapped)

    def seal(self, kid: str, plaintext: bytes, aad: bytes) -> bytes:
        """Seal bytes under an AES-256 key."""
        return key_encryption.seal(self._symmetric(kid), plaintext, aad)

    def open_sealed(self, kid: str, sealed: bytes, aad: bytes) -> bytes:
        """The plaintext of `seal`.

        Raises:
            KeyStoreError: damaged, or sealed with other associated data.
        """
        try:
            return key_encryption.open_sealed(self._symmetric(kid), sealed, aad)
        except InvalidTag as error:
            raise KeyStoreError("sealed bytes do not open under their key", code=SEALED_BYTES_DAMAGED) from error

    def _path(self, kid: str) -> Path:
        # a kid comes from rows and messages: no separator or dot gets into a path
        if not KID_PATTERN.fullmatch(kid):
            raise KeyMissingError("not a key id")
        return self._directory / f"{kid}.key"

    def _symmetric(self, kid: str) -> bytes:
        key = self._unwrapped(kid, "A256GCM")
        assert isinstance(key, bytes)  # noqa: S101 - the same
        return key

    def _unwrapped(self, kid: str, alg: Algorithm) -> PrivateKey:
        """The key itself, from memory while its file exists, else from the file."""
        path = self._path(kid)
        with self._cache_lock:
            if not path.exists():
                self._cache.pop(kid, None)
                raise KeyMissingError(f"key {kid} is not in the key store")
            cached = self._cache.get(kid)
            if cached is None:
                cached = self._cache[kid] = self._load(kid, path)
                if len(self._cache) > CACHED_KEYS:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(kid)
        if cached[0] != alg:
            raise KeyStoreError(f"key {kid} is for {cached[0]}, not for {alg}")
        return cached[1]

    def _load(self, kid: str, path: Path) -> tuple[Algorithm, PrivateKey]:
        try:
            stored = codec.decode(path.read_bytes(), StoredKey)
            secret = key_encryption.open_sealed(
                self._key_encryption_key,
                encoding.from_base64url(stored.sealed),
                _associated_data(kid, stored.use, stored.alg),
            )
        except FileNotFoundError as error:  # destroyed since we looked
            raise KeyMissingError(f"key {kid} is not in the key store") from error
        except (MalformedMessageError, InvalidTag) as error:
            raise KeyStoreError(f"the file of key {kid} is damaged or was moved", code="key_damaged") from error
        return stored.alg, _private_key(stored.alg, secret)


def _associated_data(kid: str, use: str, alg: str) -> bytes:
    return f"{kid}|{use}|{alg}".encode()


def _private_key(alg: Algorithm, secret: bytes) -> PrivateKey:
    if alg == "EdDSA":
        return Ed25519PrivateKey.from_private_bytes(secret)
    if alg == "RSA-OAEP-256":
        key = load_der_private_key(secret, password=None)
        assert isinstance(key, RSAPrivateKey)  # noqa: S101 - authenticated by `kid|use|alg`: we sealed an RSA key
        return key
    return secret
