"""Which buckets a request is charged to, by the settings. A limit that is switched off charges nothing.

A bucket's name in Redis is a keyed hash: no address, no client and no operator's name lies there.
"""

import hashlib
import zlib

from django.conf import settings

from boltz_core.limits.buckets import Charge, Limit

NAME_BYTES = 16
# A client has this many pairs of buckets for its quotas, whatever rounds it names: those that do not exist must not
# fill Redis. Two rounds may meet in one pair; that costs a client something only if it uses up both quotas.
QUOTA_SLOTS = 64


def of_client(client_id: str, address: str) -> list[Charge]:
    """A signed request of a client: its own bucket and its address's."""
    return charge(settings.BOLTZ_LIMIT_CLIENT, "client", client_id) + of_address(address)


def of_address(address: str) -> list[Charge]:
    """Any request from an address."""
    return charge(settings.BOLTZ_LIMIT_ADDRESS, "address", address)


def of_refusal(address: str) -> list[Charge]:
    """A request whose sender was refused before it was known to be a client that may ask."""
    return charge(settings.BOLTZ_LIMIT_REFUSED, "refused", address)


def of_round(client_id: str, *, model: str, number: str, body_bytes: int) -> list[Charge]:
    """A request to join a round or to send an update for it."""
    slot = str(zlib.crc32(_bytes(model, number)) % QUOTA_SLOTS)
    found = charge(settings.BOLTZ_QUOTA_REQUESTS, "round_requests", client_id, slot)
    if body_bytes:
        found += charge(settings.BOLTZ_QUOTA_BYTES, "round_bytes", client_id, slot, cost=float(body_bytes))
    return found


def of_log_in(name: str, address: str) -> list[Charge]:
    """An attempt to log in as `name`, right or wrong."""
    of_name = charge(settings.BOLTZ_LIMIT_LOG_IN, "log_in", name.casefold())
    return of_name + charge(settings.BOLTZ_LIMIT_LOG_IN_ADDRESS, "log_in_address", address)


def charge(limit: Limit | None, kind: str, *whose: str, cost: float = 1.0) -> list[Charge]:
    """One charge, or none when there is no limit."""
    return [] if limit is None else [Charge(bucket(kind, *whose), limit, cost, kind)]


def bucket(kind: str, *whose: str) -> str:
    """The name of a bucket in Redis."""
    key = hashlib.sha256(settings.SECRET_KEY.encode()).digest()
    name = hashlib.blake2b(_bytes(kind, *whose), key=key, digest_size=NAME_BYTES).hexdigest()
    return f"{settings.BOLTZ_REDIS_PREFIX}limit:{name}"


def _bytes(*words: str) -> bytes:
    """One spelling for each list of words, whatever a request has put into them."""
    return "\0".join(words).encode(errors="surrogatepass")
