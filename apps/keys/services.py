"""Making, rotating, using and destroying keys.

Nothing here writes to the log, which lies above this app: whoever rotates or destroys a key logs it, in the same
transaction. The mesh's encryption key is rotated through `apps.rounds.services`, since open rounds name it in their
descriptors.
"""

import functools
import secrets
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from apps.keys import key_encryption, selectors
from apps.keys.key_store import SEALED_BYTES_DAMAGED, KeyMissingError, KeyStore, Use
from apps.keys.models import KeyState, KeyUse, MeshKey
from apps.keys.selectors import encryption_key, is_usable, key_set, signing_key
from boltz_protocol import encoding, signing
from boltz_protocol.errors import NotNowError
from boltz_protocol.messages import Jwk, KeySuccession, Message, SignedDocument

__all__ = [
    "SEALED_BYTES_DAMAGED",
    "KeyMissingError",
    "KeyStore",
    "destroy_retired_key",
    "encryption_key",
    "ensure_mesh_keys",
    "is_usable",
    "key_set",
    "key_store",
    "lock_key_operations",
    "new_symmetric_key",
    "rotate_encryption_key",
    "rotate_signing_key",
    "sign_document",
    "signing_key",
]

RSA_BITS = 3072
RSA_EXPONENT = 65537
KID_BYTES = 32
SECRET_BYTES = 32
# one key operation at a time in the whole mesh; any number that nobody else uses for an advisory lock
LOCK_ID = 0x626F6C747A6B6579
PUBLIC_FIELDS = ("kid", "kty", "use", "alg", "crv", "x", "n", "e")


def key_store() -> KeyStore:
    """The key store that the settings name; opened once a process."""
    return _open_key_store(
        Path(settings.BOLTZ_KEY_DIR), settings.BOLTZ_KEY_ENCRYPTION_KEY, settings.BOLTZ_KEY_PASSPHRASE
    )


@functools.lru_cache(maxsize=4)
def _open_key_store(directory: Path, key: bytes | None, passphrase: str) -> KeyStore:
    return KeyStore(directory, key or key_encryption.key_from_passphrase(passphrase, directory))


def new_symmetric_key(use: Use) -> str:
    """Make a random AES-256 key and give its id, which says nothing about it."""
    kid = encoding.base64url(secrets.token_bytes(KID_BYTES))
    key_store().put(kid, use=use, alg="A256GCM", secret=secrets.token_bytes(SECRET_BYTES))
    return kid


def sign_document(message: Message, purpose: signing.Purpose) -> SignedDocument:
    """Sign a message as the mesh."""
    kid = signing_key().kid
    return signing.sign_document(message, purpose=purpose, kid=kid, sign=lambda signed: key_store().sign(kid, signed))


def ensure_mesh_keys() -> list[MeshKey]:
    """Make the mesh's keys where there are none, and give the ones made. Any number of processes may start at once.

    Raises:
        KeyMissingError: Postgres names a current key that the key store does not hold: one of the two was restored
            without the other.
    """
    with transaction.atomic():
        lock_key_operations()
        made = []
        for use in KeyUse.values:
            current = MeshKey.objects.filter(use=use, state=KeyState.CURRENT).first()
            if current is None:
                made.append(_make_key(use))
            elif not key_store().exists(current.kid):
                raise KeyMissingError(
                    f"the {use} key {current.kid} is in the database but not in the key directory "
                    f"{settings.BOLTZ_KEY_DIR}; restore that directory from where it was"
                )
        return made


def rotate_signing_key() -> MeshKey:
    """Put a new signing key in the place of the old one, which signs its succession."""
    with transaction.atomic():
        lock_key_operations()
        old = _retire(KeyUse.SIGNING)
        return _make_key(KeyUse.SIGNING, successor_of=old)


def rotate_encryption_key() -> MeshKey:
    """Put a new encryption key in the place of the old one, which opens what was sealed for it until destroyed."""
    with transaction.atomic():
        lock_key_operations()
        _retire(KeyUse.ENCRYPTION)
        return _make_key(KeyUse.ENCRYPTION)


def destroy_retired_key(kid: str) -> bool:
    """Destroy a retired key's private half; False when that was done before. Call again after a crash on the way.

    Raises:
        NotNowError: the key is the current one (`key_not_retired`).
    """
    key = MeshKey.objects.get(kid=kid)
    if key.state == KeyState.CURRENT:
        raise NotNowError(f"key {kid} is in use: rotate it first", code="key_not_retired")
    key_store().destroy(kid)
    return MeshKey.objects.filter(kid=kid, state=KeyState.RETIRED).update(state=KeyState.DESTROYED) == 1


def lock_key_operations() -> None:
    """Hold the mesh's key lock until the caller's transaction ends; it may be taken again inside.

    RSA keys take up to a second, and one process makes them.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_ID])


def _retire(use: str) -> MeshKey:
    key = selectors.current_key(use)
    # by the database's clock, which decides when it may be destroyed: a process may have a wrong one
    MeshKey.objects.filter(pk=key.pk).update(state=KeyState.RETIRED, not_after=Now())
    key.refresh_from_db()
    return key


def _make_key(use: str, *, successor_of: MeshKey | None = None) -> MeshKey:
    """Make a key: first its private half, durably, then its row. A crash in between leaves a file that nobody uses."""
    now = timezone.now()
    jwk, secret = _new_signing_key(now) if use == KeyUse.SIGNING else _new_encryption_key(now)
    key_store().put(jwk.kid, use=jwk.use, alg=jwk.alg, secret=secret)
    fields = msgspec.structs.asdict(jwk)
    return MeshKey.objects.create(
        kid=jwk.kid,
        use=jwk.use,
        alg=jwk.alg,
        public={name: fields[name] for name in PUBLIC_FIELDS if fields[name] is not None},
        not_before=now,
        succession=_succession(successor_of, jwk, now) if successor_of else None,
    )


def _new_signing_key(now: datetime) -> tuple[Jwk, bytes]:
    private_key = ed25519.Ed25519PrivateKey.generate()
    jwk = signing.ed25519_jwk(private_key.public_key().public_bytes_raw(), state="current", not_before=now)
    return jwk, private_key.private_bytes_raw()


def _new_encryption_key(now: datetime) -> tuple[Jwk, bytes]:
    private_key = rsa.generate_private_key(public_exponent=RSA_EXPONENT, key_size=RSA_BITS)
    # never PKCS#8 with a password: "best available" is PBKDF2 with 2048 rounds; the key store seals the DER
    der = private_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return signing.rsa_jwk(private_key.public_key(), state="current", not_before=now), der


def _succession(old: MeshKey, new: Jwk, now: datetime) -> object:
    document = signing.sign_document(
        KeySuccession(v=1, old_kid=old.kid, new=new, created_at=now),
        purpose=signing.Purpose.KEY_SUCCESSION,
        kid=old.kid,
        sign=lambda signed: key_store().sign(old.kid, signed),
    )
    return msgspec.to_builtins(document)
