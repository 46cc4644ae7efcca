"""What one process remembers for a while, in bounded room: who is refused until when, who was known just now."""

import threading
from collections import OrderedDict
from collections.abc import Hashable

MOST = 50_000


class Memory:
    """Things with an end; for many threads. Past `most` of them the oldest is forgotten."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._until: OrderedDict[Hashable, float] = OrderedDict()

    def keep(self, thing: Hashable, *, until: float) -> None:
        """Remember something until then."""
        with self._lock:
            self._until[thing] = until
            self._until.move_to_end(thing)
            while len(self._until) > self._most:
                self._until.popitem(last=False)

    def forget(self, thing: Hashable) -> None:
        """Remember it no longer."""
        with self._lock:
            self._until.pop(thing, None)

    def left(self, thing: Hashable, *, now: float) -> float:
        """For how many seconds it is still remembered; 0 when it is not."""
        with self._lock:
            until = self._until.get(thing)
            if until is None:
                return 0.0
            if until <= now:
                del self._until[thing]
                return 0.0
            return until - now
