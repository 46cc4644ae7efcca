"""Writing clients: `from apps.clients import services as clients`."""

from apps.clients.services.enrolment import VerifiedEnrolment, enrol
from apps.clients.services.erasure import erase
from apps.clients.services.key_rotation import rotate_key
from apps.clients.services.nonces import ReplayedError, delete_old_nonces, spend_nonce
from apps.clients.services.standing import approve, assign_organisation, resume, revoke, suspend
from apps.clients.services.tokens import make_token, revoke_token
from apps.clients.signals import client_erasing

__all__ = [
    "ReplayedError",
    "VerifiedEnrolment",
    "approve",
    "assign_organisation",
    "client_erasing",
    "delete_old_nonces",
    "enrol",
    "erase",
    "make_token",
    "resume",
    "revoke",
    "revoke_token",
    "rotate_key",
    "spend_nonce",
    "suspend",
]
