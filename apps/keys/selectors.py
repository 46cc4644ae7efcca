"""What may be known of the mesh's keys."""

import msgspec
from django.conf import settings

from apps.joined_rows import Joined, first_row
from apps.keys.key_store import KeyMissingError
from apps.keys.models import KeyState, KeyUse, MeshKey
from boltz_protocol.messages import KeySet, SignedDocument

KEYS = Joined(key=MeshKey)
# each receipt asks
CURRENT_KEY = f"SELECT {KEYS.columns} FROM keys_meshkey AS key WHERE use = %s AND state = 'current'"  # noqa: S608


def current_key(use: str) -> MeshKey:
    """The key in use.

    Raises:
        KeyMissingError: the mesh has not been started yet (`ensure_mesh_keys`).
    """
    found = KEYS.first(CURRENT_KEY, [use])
    if found is None:
        raise KeyMissingError(f"the mesh has no {use} key yet")
    key: MeshKey = found[0]
    return key


def signing_key() -> MeshKey:
    """The key that signs receipts, manifests and descriptors now."""
    return current_key(KeyUse.SIGNING)


def encryption_key() -> MeshKey:
    """The key that clients seal new updates for."""
    return current_key(KeyUse.ENCRYPTION)


# without the ORM: each upload asks twice
USABLE = """
    SELECT 1 FROM keys_meshkey WHERE kid = %s AND use = 'enc' AND (
        state = 'current' OR state = 'retired' AND not_after > statement_timestamp() - make_interval(secs => %s)
    )
"""


def is_usable(kid: str) -> bool:
    """Whether a new upload may be sealed for this key: the current one, or one that was retired only just now.

    An upload has the second half of the grace time to be committed, before the key may be destroyed.
    """
    return first_row(USABLE, [kid, settings.BOLTZ_KEY_GRACE_SECONDS / 2]) is not None


def key_set() -> KeySet:
    """Every signing key there ever was, so that old documents stay verifiable; encryption keys that open something."""
    keys = [key for key in MeshKey.objects.all() if key.use == KeyUse.SIGNING or key.state != KeyState.DESTROYED]
    successions = tuple(msgspec.convert(key.succession, SignedDocument) for key in keys if key.succession)
    return KeySet(v=1, keys=tuple(key.jwk() for key in keys), successions=successions)
