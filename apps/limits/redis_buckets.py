"""Buckets in Redis, the same for all processes: one script, one round trip, and never a long wait."""

from collections.abc import Sequence
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from boltz_core.limits.buckets import PASSED, Charge, Verdict

SCRIPT = Path(__file__).with_name("spend.lua").read_text(encoding="utf-8")
# a Redis that works answers within a millisecond; one that hangs holds up a request for this long
TIMEOUT_SECONDS = 0.05


class RedisAwayError(Exception):
    """Redis did not answer, or not as it should. Says the kind of the error alone: its words may name a host."""


class RedisBuckets:
    """Buckets in the Redis at `url`; for many threads. Nothing is connected before the first question."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            # each of these would be a round trip, or another wait
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
        )
        self._script = self._redis.register_script(SCRIPT)

    def spend(self, charges: Sequence[Charge], *, now: float | None = None) -> Verdict:
        """Charge all buckets or none, on Redis' clock unless `now` is given.

        Raises:
            RedisAwayError: nobody knows whether they were charged.
        """
        times = [value for charge in charges for value in (charge.limit.refill_seconds, charge.seconds)]
        try:
            refused, milliseconds = self._script(
                keys=[charge.bucket for charge in charges], args=["" if now is None else repr(now), *map(repr, times)]
            )
        except (redis.RedisError, OSError) as error:
            raise RedisAwayError(type(error).__name__) from error
        return Verdict(milliseconds / 1000, charges[refused - 1]) if refused else PASSED

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
