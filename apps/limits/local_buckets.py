"""Buckets in this process's memory: for what must not wait for Redis, and for strangers while Redis is away.

Bounded: past `most` buckets the one that was used longest ago is forgotten, and so is full again.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from boltz_core.limits import buckets
from boltz_core.limits.buckets import Charge, Verdict

MOST = 50_000


class LocalBuckets:
    """Buckets of one process; for many threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def spend(self, charges: Sequence[Charge], *, now: float) -> Verdict:
        """Charge all buckets or none; `now` comes from a clock that never goes back."""
        with self._lock:
            known = [self._full_at.get(charge.bucket, now) for charge in charges]
            verdict, full_at = buckets.spend(charges, known, now=now)
            for charge, time in zip(charges, full_at, strict=True):
                self._full_at[charge.bucket] = time
                self._full_at.move_to_end(charge.bucket)
            while len(self._full_at) > self._most:
                self._full_at.popitem(last=False)
            return verdict
