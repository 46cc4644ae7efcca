"""Buckets: what may be asked for at once, and how fast it comes back.

A bucket is one number, the time at which it is full again; one that is full need not be kept at all. This is the
generic cell rate algorithm (ITU-T I.371, "virtual scheduling"). `apps/limits/spend.lua` decides the same inside of
Redis, and a test compares the two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# seconds: two sums of floats that should be equal are; times of today have a quarter of a microsecond
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Limit:
    """`per_second` in the long run, `burst` at once; both above 0."""

    per_second: float
    burst: float

    def __str__(self) -> str:
        return f"{self.per_second:.15g}/{self.burst:.15g}"

    @property
    def refill_seconds(self) -> float:
        """How long an empty bucket takes to be full."""
        return self.burst / self.per_second


@dataclass(frozen=True)
class Charge:
    """What one request takes out of one bucket.

    A cost beyond the whole bucket counts as the whole bucket: it waits for a full one instead of for ever. `kind` is
    for whoever has to say which charge was refused.
    """

    bucket: str
    limit: Limit
    cost: float = 1.0
    kind: str = ""

    @property
    def seconds(self) -> float:
        """The cost as the time in which it comes back."""
        return min(self.cost, self.limit.burst) / self.limit.per_second


@dataclass(frozen=True)
class Verdict:
    """Whether a request may pass. If not: how long the longest wait is, and which charge that is."""

    wait_seconds: float = 0.0
    refused: Charge | None = None

    @property
    def retry_after_seconds(self) -> int:
        """What to say in Retry-After: whole seconds, after which there is room again."""
        return max(1, math.ceil(self.wait_seconds))


PASSED = Verdict()


def spend(charges: Sequence[Charge], full_at: Sequence[float], *, now: float) -> tuple[Verdict, Sequence[float]]:
    """Charge all buckets, or none of them when one has too little left.

    Args:
        charges: one for each bucket.
        full_at: when each of these buckets is full again; any time that is not after `now` means that it is.
        now: on the clock of `full_at`. Where that clock was set back a bucket counts as empty, never as less.

    Returns:
        The verdict, and when each bucket is full from now on.
    """
    after = [
        min(max(known, now), now + charge.limit.refill_seconds) + charge.seconds
        for charge, known in zip(charges, full_at, strict=True)
    ]
    waits = [time - now - charge.limit.refill_seconds for charge, time in zip(charges, after, strict=True)]
    longest = max(range(len(waits)), key=waits.__getitem__, default=None)
    if longest is None or waits[longest] <= TOLERANCE:
        return PASSED, after
    return Verdict(wait_seconds=waits[longest], refused=charges[longest]), full_at
