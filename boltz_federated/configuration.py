"""What of the settings goes into the log.

An allow-list: a secret, or a setting that somebody adds later, is not in it. Nor are directories, which may name a
person.
"""

from typing import Any

from django.conf import settings
from django.db import transaction

from apps.audit import selectors as log
from apps.audit import services as audit
from boltz_core.limits.buckets import Limit
from boltz_protocol.errors import ServerFaultError

STARTED = "configuration.started"
LOGGED = (
    "ALLOWED_HOSTS",
    "BOLTZ_BEHIND_PROXY",
    "BOLTZ_DEV_MODE",
    "BOLTZ_ENCRYPTION_KEY_DAYS",
    "BOLTZ_ENROLMENT",
    "BOLTZ_HOLD_SECONDS",
    "BOLTZ_HSTS_SECONDS",
    "BOLTZ_KEY_GRACE_SECONDS",
    "BOLTZ_LEASE_SECONDS",
    "BOLTZ_LIMIT_ADDRESS",
    "BOLTZ_LIMIT_CLIENT",
    "BOLTZ_LIMIT_LOG_IN",
    "BOLTZ_LIMIT_LOG_IN_ADDRESS",
    "BOLTZ_LIMIT_REFUSED",
    "BOLTZ_MAX_ATTEMPTS",
    "BOLTZ_QUOTA_BYTES",
    "BOLTZ_QUOTA_REQUESTS",
    "BOLTZ_RECONCILE_SECONDS",
    "BOLTZ_RETRY_SECONDS",
    "BOLTZ_SHARD_PARAMETERS",
    "BOLTZ_TICK_SECONDS",
    "CSRF_TRUSTED_ORIGINS",
    "DEBUG",
)


def log_configuration(*, actor: str) -> bool:
    """Log what the mesh is started with; False, and nothing is written, when that is what was logged last."""
    found = configuration()
    if last_logged() == found:
        return False
    with transaction.atomic():
        audit.append(STARTED, actor=actor, detail=found)
    return True


def last_logged() -> dict[str, Any] | None:
    """The configuration that was logged last; None when there is none, or it cannot be read as it was written."""
    entry = log.entries_of_type(STARTED).first()
    try:
        return log.read_detail(entry) if entry else None
    except ServerFaultError:
        # for those who verify the log; a mesh that would not start for it could not be mended
        return None


def configuration() -> dict[str, Any]:
    """The settings that matter to those who read the log, as it has them: floats and limits as strings."""
    values = {name: getattr(settings, name) for name in LOGGED}
    return {name: str(value) if isinstance(value, float | Limit) else value for name, value in values.items()}
