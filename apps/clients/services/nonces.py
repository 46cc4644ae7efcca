"""Nonces: each signed request counts once, whatever happens to Redis.

They are spent in Postgres, unique per key. A second use waits for the transaction of the first and fails when that
commits.

One that is spent on its own, before the view runs, does not wait for the disk: its commit is asynchronous. Postgres
writes its log in order, so whatever the view commits takes the nonce with it. What a crash of Postgres can lose is the
nonce of a request of its last second that has changed nothing: it may be played once more while its signature lives, as
if its sender had asked then.
"""

from datetime import UTC, datetime, timedelta

from django.db import connection
from django.utils import timezone

from apps.clients.models import SpentNonce
from apps.wire.authentication_failure import AuthenticationFailedError
from boltz_protocol.http_signature import ParsedSignature

KEPT_AFTER_EXPIRY = timedelta(minutes=15)

# One nonce; no row when it is spent already. Waits while another transaction is spending the same one.
SPEND_NONCE = """
    INSERT INTO clients_spentnonce (kid, nonce, expires_at) VALUES (%s, %s, %s)
    ON CONFLICT (kid, nonce) DO NOTHING
"""
# in one statement, since each one more is a round trip for every request
SPEND_NONCE_ALONE = """
    WITH setting AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
    INSERT INTO clients_spentnonce (kid, nonce, expires_at) SELECT %s, %s, %s::timestamptz FROM setting
    ON CONFLICT (kid, nonce) DO NOTHING
"""


class ReplayedError(AuthenticationFailedError):
    """A request that was received before; from outside it looks like any other failed authentication."""


def spend_nonce(signature: ParsedSignature) -> None:
    """Use up a request's nonce, in the caller's transaction; in one that does not wait for the disk without a caller's.

    Raises:
        ReplayedError: it was used before.
    """
    expires_at = datetime.fromtimestamp(signature.expires, tz=UTC)
    statement = SPEND_NONCE if connection.in_atomic_block else SPEND_NONCE_ALONE
    with connection.cursor() as cursor:
        cursor.execute(statement, [signature.kid, signature.nonce, expires_at])
        if cursor.rowcount != 1:
            raise ReplayedError


def delete_old_nonces() -> int:
    """Delete the nonces of signatures that expired 15 minutes ago or more; gives how many. For the tick."""
    deleted, _ = SpentNonce.objects.filter(expires_at__lt=timezone.now() - KEPT_AFTER_EXPIRY).delete()
    return deleted
