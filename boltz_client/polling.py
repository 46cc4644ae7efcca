"""Ask until it is so: every 100 ms at first, then as often as keeps what is waited too long to a tenth of the wait.

A pause counts from when the question was asked: an answer that the mesh has held back is followed by the next question.
"""

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


def poll(ask: Callable[[float], T], done: Callable[[T], bool], *, clock: Clock, timeout_seconds: float | None) -> T:
    """Call `ask` until `done` says so or the time is up (None: never); returns the last answer either way.

    `ask` gets the seconds that are left.
    """
    started = clock.monotonic()
    left = math.inf if timeout_seconds is None else timeout_seconds
    while True:
        asked = clock.monotonic()
        answer = ask(left)
        answered = clock.monotonic()
        waited = answered - started
        left = math.inf if timeout_seconds is None else timeout_seconds - waited
        if done(answer) or left < SHORTEST_SECONDS:
            return answer
        pause = min(max(SHARE * waited, FIRST_SECONDS), LONGEST_SECONDS) - (answered - asked)
        if pause > 0:
            clock.sleep(min(pause, left))


def timeout_of(wanted: bool | float) -> float | None:  # noqa: FBT001 - the public argument is "yes, no, or how long"
    """True: no limit; False: not at all (0); a number: that many seconds."""
    if wanted is True:
        return None
    return float(wanted)
