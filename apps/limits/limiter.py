"""May this request pass? One question to Redis a request, and none at all for a flood.

- **Clients that are known** are counted after their signature was verified, so nobody can use up another's bucket.
  While Redis is away they pass, with an alarm: a mesh that stops for its limits is worse than one without.
- **Strangers** are counted when they have been answered. Whoever was refused too often is remembered in this process,
  and refused before anything is parsed, looked up or verified. While Redis is away each process counts for itself.
- A client that this process has just known passes though its address is refused: a stranger behind the same address
  cannot lock it out. Such a stranger can lock out whoever is new to this process.
"""

import functools
import logging
import time
from collections.abc import Sequence

from django.conf import settings

from apps.limits import charges
from apps.limits.circuit import Circuit
from apps.limits.local_buckets import LocalBuckets
from apps.limits.memory import Memory
from apps.limits.redis_buckets import TIMEOUT_SECONDS, RedisAwayError, RedisBuckets
from boltz_core.limits.buckets import PASSED, Charge, Limit, Verdict
from boltz_protocol.errors import NotNowError

logger = logging.getLogger(__name__)

KNOWN_SECONDS = 600.0
TOLD_SECONDS = 60.0
# what the circuit asks for: the very script, since a Redis that is full answers a PING
PROBE_LIMIT = Limit(per_second=1000.0, burst=1000.0)
SENTENCES = {
    "client": "this client sends too many requests",
    "address": "too many requests come from this address",
    "refused": "too many requests from this address were refused",
    "round_requests": "this client has joined this round or sent to it too often",
    "round_bytes": "this client has sent too many bytes for this round",
    "log_in": "too many attempts to log in",
    "log_in_address": "too many attempts to log in",
    "page": "this page is asked for too often from this address",
}


class RateLimitedError(NotNowError):
    """Too many requests; `wait` is the number of whole seconds for Retry-After."""

    default_code = "rate_limited"

    def __init__(self, kind: str, *, verdict: Verdict) -> None:
        self.wait = verdict.retry_after_seconds
        super().__init__(f"{SENTENCES[kind]}; wait {self.wait} s before the next one")


class Limiter:
    """The limits of one process.

    `kid` is the key id that a request claims, "" for none; `charge_client` alone may trust it.
    """

    def __init__(self, shared: RedisBuckets) -> None:
        self._shared = shared
        self.circuit = Circuit(lambda: shared.spend(charges.charge(PROBE_LIMIT, "probe")))
        self._local = LocalBuckets()
        self._refused, self._known, self._told = Memory(), Memory(), Memory()

    def refuse_early(self, *, address: str, kid: str) -> None:
        """Refuse who is to wait, before any work is done for it.

        Raises:
            RateLimitedError: its address, or this key at this address, was refused and has not waited.
        """
        kinds = ["address", "client"]
        if not self._known.left((kid, address), now=time.monotonic()):
            kinds.append("refused")
        for kind in kinds:
            if wait := self._refused.left((kind, address, kid if kind == "client" else ""), now=time.monotonic()):
                raise RateLimitedError(kind, verdict=Verdict(wait))

    def charge_client(self, spent: Sequence[Charge], *, address: str, kid: str) -> None:
        """Count a request that a client has signed.

        Raises:
            RateLimitedError: it has to wait. What this costs Redis is paid once: until then it is refused early.
        """
        self._known.keep((kid, address), until=time.monotonic() + KNOWN_SECONDS)
        verdict = self._ask(spent)
        if verdict is None:
            self.circuit.count_unlimited()
        elif verdict.refused:
            self._remember(verdict, address, kid)
            refuse(verdict)

    def charge_stranger(self, *, address: str, kid: str, refused: bool) -> None:
        """Count a request that has been answered and was no client's, or that was `refused`."""
        spent = charges.of_address(address)
        if refused:
            self._known.forget((kid, address))
            spent += charges.of_refusal(address)
        self._remember(self._ask_or_count(spent), address, kid)

    def charge_log_in(self, name: str, *, address: str) -> None:
        """Count an attempt to log in, before the password is looked at.

        Raises:
            RateLimitedError: too many for this name or from this address.
        """
        refuse(self._ask_or_count(charges.of_log_in(name, address)))

    def charge_page(self, path: str, limit: Limit, *, address: str) -> None:
        """Count a request for an open page, in this process alone: whether it is alive may not depend on Redis.

        Raises:
            RateLimitedError: it is asked for too often.
        """
        refuse(self._local.spend(charges.charge(limit, "page", path, address), now=time.monotonic()))

    def close(self) -> None:
        """Close the connections, and look at Redis no more."""
        self.circuit.stop()
        self._shared.close()

    def _ask(self, spent: Sequence[Charge]) -> Verdict | None:
        """Redis' verdict; None while it is away."""
        if not spent:
            return PASSED
        if self.circuit.is_open:
            return None
        try:
            verdict = self._shared.spend(spent)
        except RedisAwayError as error:
            self.circuit.failed(error)
            return None
        self.circuit.succeeded()
        return verdict

    def _ask_or_count(self, spent: Sequence[Charge]) -> Verdict:
        """Redis' verdict; this process's own while Redis is away."""
        return self._ask(spent) or self._local.spend(spent, now=time.monotonic())

    def _remember(self, verdict: Verdict, address: str, kid: str) -> None:
        """Refuse the next ones early. A round's quota is no reason to refuse other requests."""
        if verdict.refused is None or verdict.refused.kind not in {"client", "address", "refused"}:
            return
        kind, now = verdict.refused.kind, time.monotonic()
        thing = (kind, address, kid if kind == "client" else "")
        self._refused.keep(thing, until=now + verdict.wait_seconds)
        if not self._told.left(thing, now=now):
            self._told.keep(thing, until=now + TOLD_SECONDS)
            # neither address nor key: names of clients have no place in a log
            logger.warning("a limit is reached: %s", SENTENCES[kind])


def refuse(verdict: Verdict) -> None:
    """Raise what a verdict says.

    Raises:
        RateLimitedError: it does not let the request pass.
    """
    if verdict.refused:
        raise RateLimitedError(verdict.refused.kind, verdict=verdict)


@functools.cache
def limiter() -> Limiter:
    """The limits of this process."""
    return Limiter(RedisBuckets(settings.REDIS_URL, timeout_seconds=TIMEOUT_SECONDS))
