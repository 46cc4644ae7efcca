"""Time and chance as one argument, so that tests neither wait nor patch."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Clock:
    """Where the present, the passing of time and random bytes come from."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random_bytes: Callable[[int], bytes] = os.urandom

    def utc(self) -> datetime:
        """The present, to the second."""
        return datetime.fromtimestamp(int(self.now()), tz=UTC)

    def jittered(self, seconds: float) -> float:
        """Between half of `seconds` and all of it, so that clients that failed together do not come back together."""
        return seconds * (0.5 + int.from_bytes(self.random_bytes(2)) / 131072)
