"""Ask until it is so: every 100 ms at first, then as often as keeps what is waited too long to a tenth of the wait."""

import math
from collections.abc import Callable
from typing import TypeVar

from boltz_client.clock import Clock

T = TypeVar("T")

# less than this is no time to wait, and too little to be added to a clock
SHORTEST_SECONDS = 0.001
FIRST_SECONDS = 0.1
LONGEST_SECONDS = 5.0
# of the time that was waited already
SHARE = 0.1


def poll(
    ask: Callable[[], T],
    done: Callable[[T], bool],
    *,
    clock: Clock,
    timeout_seconds: float | None,
    at_once: bool = True,
) -> T:
    """Call `ask` until `done` says so or the time is up (None: never); returns the last answer either way.

    `at_once`: the first time without a pause.
    """
    started = clock.monotonic()
    if not at_once:
        clock.sleep(FIRST_SECONDS if timeout_seconds is None else min(FIRST_SECONDS, timeout_seconds))
    while True:
        answer = ask()
        waited = clock.monotonic() - started
        left = math.inf if timeout_seconds is None else timeout_seconds - waited
        if done(answer) or left < SHORTEST_SECONDS:
            return answer
        clock.sleep(min(max(SHARE * waited, FIRST_SECONDS), LONGEST_SECONDS, left))


def timeout_of(wanted: bool | float) -> float | None:  # noqa: FBT001 - the public argument is "yes, no, or how long"
    """True: no limit; False: not at all (0); a number: that many seconds."""
    if wanted is True:
        return None
    return float(wanted)
