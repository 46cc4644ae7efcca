"""Start a Celery task by name, once the transaction has committed, off the request's thread.

A message is a hint, never the truth: it carries ids only, and when it is dropped (Redis dead, hanging or full, the
buffer full, the process killed) the reconciler finds the row. So nothing here raises, and nothing here makes a
request wait.
"""

import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable

from celery import current_app
from django.conf import settings
from django.db import transaction

logger = logging.getLogger(__name__)

# every task by its name; worker.queues says where each one goes
PROCESS_UPDATE = "rounds.process_update"
ADVANCE_ROUND = "rounds.advance_round"
JUDGE_CANDIDATE = "rounds.judge_candidate"
AGGREGATE_ROUND = "aggregation.aggregate_round"
MEASURE_SHARD = "aggregation.measure_shard"
DECIDE_RUN = "aggregation.decide_run"
COMBINE_SHARD = "aggregation.combine_shard"
FINISH_RUN = "aggregation.finish_run"
TICK = "aggregation.tick"

BUFFER = 10_000
DRAIN_SECONDS = 2.0


class Publisher:
    """One daemon thread that publishes from a bounded buffer; started on first use, so also after a fork."""

    def __init__(self) -> None:
        self._buffer: queue.Queue[tuple[str, tuple[str | int, ...]]] = queue.Queue(maxsize=BUFFER)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, task: str, ids: tuple[str | int, ...]) -> bool:
        """Buffer one message; False when the buffer is full, and then it is dropped."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._publish_all, name="publisher", daemon=True)
                self._thread.start()
        try:
            self._buffer.put_nowait((task, ids))
        except queue.Full:
            logger.warning("dropped a message for %s: the buffer is full; the reconciler will find the work", task)
            return False
        return True

    def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Give a short-lived process the chance to publish before it exits."""
        deadline = time.monotonic() + seconds
        while self._buffer.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.005)

    def _publish_all(self) -> None:
        while True:
            task, ids = self._buffer.get()
            try:
                publish(task, *ids)
            finally:
                self._buffer.task_done()


def publish(task: str, *ids: str | int) -> bool:
    """Publish one message now; False when the broker did not take it."""
    try:
        # nobody waits for the result; asking for one would subscribe to it in Redis first
        current_app.send_task(task, args=list(ids), ignore_result=True)
    except Exception as error:  # noqa: BLE001 - whatever the broker's client raises, the row is in Postgres and will be found
        logger.warning("could not publish %s: %s", task, type(error).__name__)
        return False
    return True


_publisher = Publisher()
atexit.register(_publisher.drain)


def send_on_commit(task: str, *ids: str | int) -> None:
    """Start `task` with these ids after the current transaction has committed; at once when there is none."""
    transaction.on_commit(lambda: _publisher.put(task, ids), robust=True)


def retry_seconds() -> float:
    """How long a message may be under way before the reconciler sends another one."""
    return float(settings.BOLTZ_RETRY_SECONDS)


def kick(task: str, service: Callable[..., None], *ids: str | int) -> None:
    """Publish a message for work that waits, or do the work here when the broker does not take it.

    For the reconciler: with Redis and beat both dead, the mesh still moves.
    """
    if not publish(task, *ids):
        service(*ids)
