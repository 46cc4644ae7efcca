"""Ask until it is so: back-off from 50 ms to 5 s."""

from collections.abc import Callable
from typing import TypeVar

from boltz_client.clock import Clock

T = TypeVar("T")

FIRST_SECONDS = 0.05
LONGEST_SECONDS = 5.0


def poll(ask: Callable[[], T], done: Callable[[T], bool], *, clock: Clock, timeout_seconds: float | None) -> T:
    """Call `ask` until `done` says so or the time is up (None: never); returns the last answer either way."""
    started, wait_seconds = clock.monotonic(), FIRST_SECONDS
    while True:
        answer = ask()
        left = None if timeout_seconds is None else started + timeout_seconds - clock.monotonic()
        if done(answer) or (left is not None and left <= 0):
            return answer
        clock.sleep(wait_seconds if left is None else min(wait_seconds, left))
        wait_seconds = min(2 * wait_seconds, LONGEST_SECONDS)


def timeout_of(wanted: bool | float) -> float | None:  # noqa: FBT001 - the public argument is "yes, no, or how long"
    """True: no limit; False: not at all (0); a number: that many seconds."""
    if wanted is True:
        return None
    return float(wanted)
