"""The client's Ed25519 key, and the file it rests in.

The file is readable by its owner only. With a passphrase the key is sealed with AES-256-GCM under Argon2id(passphrase);
the additional data is kid, use and algorithm, so that a sealed key cannot be passed off as another. Without one it lies
there plain: whoever can read the file is this client.
"""

import os
import stat
from pathlib import Path
from typing import Annotated

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from msgspec import Meta

from boltz_client.clock import Clock
from boltz_client.errors import IdentityError, WrongPassphraseError
from boltz_client.home import AlreadyThereError, Home
from boltz_protocol import signing
from boltz_protocol.encoding import base64url, from_base64url
from boltz_protocol.messages import Base64Url, KeyId, Message

SALT_BYTES = 16
NONCE_BYTES = 12
SECRET_BYTES = 32


class PassphraseLock(Message, frozen=True):
    """How the key in a file is sealed. The ceilings stop a swapped file from eating the machine's memory."""

    salt: Base64Url
    nonce: Base64Url
    iterations: Annotated[int, Meta(ge=1, le=64)] = 3
    lanes: Annotated[int, Meta(ge=1, le=64)] = 4
    memory_kib: Annotated[int, Meta(ge=8, le=1 << 20)] = 1 << 16


class KeyFile(Message, frozen=True):
    """`identity.json`: `secret` is the raw private key, or that sealed as `lock` says."""

    kid: KeyId
    public: Base64Url
    lock: PassphraseLock | None
    secret: Base64Url


class Identity:
    """A client's key: a kid, a public key, and the power to sign."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key = private_key.public_key().public_bytes_raw()
        self.kid = signing.thumbprint(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """Sign with Ed25519."""
        return self._private_key.sign(message)

    def secret(self) -> bytes:
        """The raw private key, for the key file alone."""
        return self._private_key.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )


def load(home: Home, name: str, *, passphrase: str | None, clock: Clock) -> Identity | None:
    """Read the key file `name`, or None if there is none.

    A plain file met with a passphrase is sealed on the spot.

    Raises:
        WrongPassphraseError: the file is sealed and `passphrase` is missing or another.
        IdentityError: others may read the file, or its parts do not belong together.
    """
    _refuse_open_file(home.path(name))
    stored = home.read(KeyFile, name)
    if stored is None:
        return None
    identity = Identity(Ed25519PrivateKey.from_private_bytes(_unlock(stored, passphrase, home.path(name))))
    if (identity.kid, base64url(identity.public_key)) != (stored.kid, stored.public):
        raise IdentityError(f"{home.path(name)} holds a key that is not the one it names; restore it from a copy")
    if stored.lock is None and passphrase is not None:
        store(identity, home, name, passphrase=passphrase, clock=clock)
    return identity


def create(home: Home, name: str, *, passphrase: str | None, clock: Clock) -> Identity:
    """Make a new key and store it before anyone sees it; if another process has just made one, that is the key."""
    identity = Identity(Ed25519PrivateKey.generate())
    try:
        store(identity, home, name, passphrase=passphrase, clock=clock, exclusive=True)
    except AlreadyThereError:
        return load(home, name, passphrase=passphrase, clock=clock) or identity
    return identity


def store(
    identity: Identity, home: Home, name: str, *, passphrase: str | None, clock: Clock, exclusive: bool = False
) -> None:
    """Write the key file, 0600.

    Raises:
        AlreadyThereError: `exclusive`, and there is one.
    """
    lock, secret = None, identity.secret()
    if passphrase is not None:
        lock = PassphraseLock(
            salt=base64url(clock.random_bytes(SALT_BYTES)), nonce=base64url(clock.random_bytes(NONCE_BYTES))
        )
        secret = _cipher(lock, passphrase).encrypt(from_base64url(lock.nonce), secret, _context(identity.kid))
    public = base64url(identity.public_key)
    file = KeyFile(kid=identity.kid, public=public, lock=lock, secret=base64url(secret))
    home.write(file, name, exclusive=exclusive)


def _unlock(stored: KeyFile, passphrase: str | None, path: Path) -> bytes:
    secret = from_base64url(stored.secret)
    if stored.lock is not None:
        if passphrase is None:
            raise WrongPassphraseError(
                f"{path} is encrypted; pass passphrase=... (boltz-client: --passphrase-env VARIABLE)"
            )
        try:
            secret = _cipher(stored.lock, passphrase).decrypt(
                from_base64url(stored.lock.nonce), secret, _context(stored.kid)
            )
        except InvalidTag as error:
            raise WrongPassphraseError(f"wrong passphrase for {path}") from error
    if len(secret) != SECRET_BYTES:
        raise IdentityError(f"{path} holds no Ed25519 key; restore it from a copy")
    return secret


def _cipher(lock: PassphraseLock, passphrase: str) -> AESGCM:
    derived = Argon2id(
        salt=from_base64url(lock.salt),
        length=32,
        iterations=lock.iterations,
        lanes=lock.lanes,
        memory_cost=lock.memory_kib,
    )
    return AESGCM(derived.derive(passphrase.encode()))


def _context(kid: str) -> bytes:
    return f"{kid}|sig|EdDSA".encode()


def _refuse_open_file(path: Path) -> None:
    """Stop a key that everybody on this machine can copy from being used as if it were secret."""
    if os.name != "posix" or not path.exists():
        return
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise IdentityError(f"others on this machine can read {path}; run: chmod 600 {path}")
