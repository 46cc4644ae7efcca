"""When to ask again, and how long to wait first.

Every request of the protocol may be sent twice: reads change nothing, a registration and a participation are the same
the second time, and an upload is named by its upload id and its bytes. So a lost answer is met by asking again, each
time with a new nonce.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TypeVar

from boltz_client.clock import Clock
from boltz_client.errors import FederatedClientError

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """Waits double from `first_seconds` to `longest_seconds`; a Retry-After beyond `patience_seconds` ends it."""

    attempts: int = 5
    first_seconds: float = 0.2
    longest_seconds: float = 5.0
    patience_seconds: float = 30.0


FOR_UPLOADS = RetryPolicy(attempts=8)


class TransientError(Exception):
    """This attempt failed, another may not. `final` is the error for the caller if none is left."""

    def __init__(self, final: FederatedClientError, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(final.message)
        self.final = final
        self.retry_after_seconds = retry_after_seconds


def retrying(attempt: Callable[[], T], *, policy: RetryPolicy, clock: Clock) -> T:
    """Call `attempt` until it returns, fails for good, or the policy's attempts are used up.

    Raises:
        FederatedClientError: the last attempt's.
    """
    wait_seconds = policy.first_seconds
    for left in reversed(range(policy.attempts)):
        try:
            return attempt()
        except TransientError as failure:
            asked = failure.retry_after_seconds
            if left == 0 or (asked is not None and asked > policy.patience_seconds):
                raise failure.final from failure
            clock.sleep(max(clock.jittered(wait_seconds), asked or 0.0))
            wait_seconds = min(2 * wait_seconds, policy.longest_seconds)
    raise AssertionError("a policy has at least one attempt")  # the loop returns or raises on its last pass


def retry_after_seconds(header: str | None, *, now: float) -> float | None:
    """Seconds to wait by a Retry-After field (RFC 9110: seconds or a date); None when absent or unreadable."""
    if header is None:
        return None
    text = header.strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
