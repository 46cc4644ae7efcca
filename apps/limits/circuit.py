"""Whether Redis is asked at all: after some failures in a row it is left alone, and a thread looks when it is back.

No request pays for a Redis that is away more than once or twice, and none is the one that finds out that it is back.
"""

import logging
import threading
import time
from collections.abc import Callable

from apps.limits.redis_buckets import RedisAwayError

logger = logging.getLogger(__name__)

# one slow answer is a busy machine; some in a row are a Redis that hangs
FAILURES = 3
RETRY_SECONDS = 2.0
WATCH_SECONDS = 10.0


class Circuit:
    """Closed: Redis is asked. Open: it is not, and `probe` is called every few seconds until it raises nothing."""

    def __init__(self, probe: Callable[[], object], *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._probe = probe
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None
        self._alive: Callable[[], object] = lambda: None
        self._failures = 0
        self._opened_at: float | None = None
        self._unlimited = 0
        self._stopped = False

    @property
    def is_open(self) -> bool:
        """Whether Redis is left alone."""
        return self._opened_at is not None

    def watch(self, alive: Callable[[], object]) -> None:
        """Look at Redis every few seconds from now on, whether anybody asks or not; call `alive` when it answers."""
        self._alive = alive
        with self._lock:
            self._start()

    def succeeded(self) -> None:
        """Redis has answered."""
        with self._lock:
            self._failures = 0

    def failed(self, error: RedisAwayError) -> None:
        """Redis has not answered."""
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES and self._opened_at is None:
                self._open(error)

    def count_unlimited(self) -> None:
        """A known client was let through uncounted."""
        with self._lock:
            self._unlimited += 1

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        self._changed.set()

    def _open(self, error: RedisAwayError) -> None:
        self._opened_at, self._unlimited = time.monotonic(), 0
        logger.error(
            "rate limits fail open: Redis does not answer (%s). Known clients are not limited until it does; strangers "
            "and log-ins are, by each web process alone",
            error,
        )
        self._start()
        self._changed.set()

    def _close(self) -> None:
        with self._lock:
            self._failures = 0
            if self._opened_at is None:
                return
            seconds, self._opened_at = time.monotonic() - self._opened_at, None
            unlimited = self._unlimited
        logger.warning(
            "rate limits hold again: Redis answers. They were open for %.0f s and %d requests", seconds, unlimited
        )

    def _start(self) -> None:
        """Have a thread that watches; a fork leaves it behind."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._watch, name="limits", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        if not self.is_open:
            self._look()
        while not self._stopped:
            if self._changed.wait(self._retry_seconds if self.is_open else WATCH_SECONDS):
                # just opened: its pause begins
                self._changed.clear()
                continue
            self._look()

    def _look(self) -> None:
        try:
            self._probe()
        except RedisAwayError as error:
            self.failed(error)
            return
        self._close()
        try:
            self._alive()
        except Exception:
            # without this thread the circuit would stay open for ever
            logger.exception("whoever was to hear that Redis answers has failed")
