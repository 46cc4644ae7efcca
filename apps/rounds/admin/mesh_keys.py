"""Rotation of the mesh's keys: here, since open rounds name the encryption key in their descriptors."""

from django.contrib import admin

from apps.audit import services as audit
from apps.keys.admin import MeshKeyAdmin
from apps.keys.models import KeyState, KeyUse, MeshKey
from apps.operator_pages.decisions import Decision
from apps.rounds import services
from boltz_protocol.errors import NotNowError


def rotate(key: MeshKey, *, actor: str) -> None:
    """Put a new key in this one's place.

    Raises:
        NotNowError: `key_not_current`: it has been rotated already, as when a form is sent twice.
    """
    if key.state != KeyState.CURRENT:
        raise NotNowError(f"{key} is {key.state}: another key is in its place already", code="key_not_current")
    if key.use == KeyUse.SIGNING:
        services.rotate_signing_key(actor=actor)
    else:
        services.rotate_encryption_key(actor=actor)


def is_current(key: MeshKey, use: str) -> bool:
    """Whether this key is the one in use."""
    return key.use == use and key.state == KeyState.CURRENT


ROTATE_ENCRYPTION = Decision(
    name="rotate",
    label="Rotate",
    consequence="A new encryption key is made and put into every open round's descriptor. Updates that were sealed "
    "for this one are "
    "still opened; then its private half is destroyed.",
    done="a new key has taken its place",
    carry_out=rotate,
    applies=lambda key: is_current(key, KeyUse.ENCRYPTION),
    danger=True,
)
ROTATE_SIGNING = Decision(
    name="rotate-signing",
    label="Rotate",
    consequence="A new signing key is made, and this one signs its succession, so that clients who have pinned "
    "this one follow. "
    "Documents that it has signed stay valid.",
    done="a new key has taken its place",
    carry_out=rotate,
    applies=lambda key: is_current(key, KeyUse.SIGNING),
    danger=True,
)


@admin.register(MeshKey)
class RotatingKeyAdmin(MeshKeyAdmin):
    """The mesh's keys, with rotation."""

    actor_of = staticmethod(audit.actor_of)
    decisions = (ROTATE_ENCRYPTION, ROTATE_SIGNING)
