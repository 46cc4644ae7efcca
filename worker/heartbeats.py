"""Heartbeats of Celery's processes: rows in Postgres that say when each kind was last alive.

A worker writes one for each queue that it takes from (`ingest-worker`, ...), in its main process. It proves that this
process turns its loop, reaches Redis and would take a message. It does not prove that its children get work done; the
heartbeat `tick` does, written by a tick that went through beat, Redis and a child.
"""

import logging
import threading
from typing import Any

from celery import bootsteps
from celery.worker import state

logger = logging.getLogger(__name__)

SECONDS = 10.0


def worker_kind(queue: str) -> str:
    """The kind of process that takes from a queue."""
    return f"{queue}-worker"


def write_heartbeats(*kinds: str) -> None:
    """Note that processes of these kinds are alive; a database that is away costs a line in the process's log."""
    # not at the top: this loads before Django's registry of apps, and models cannot
    from django.db import Error, close_old_connections

    from apps.aggregation import services as aggregation

    try:
        close_old_connections()
        for kind in kinds:
            aggregation.beat_heart(kind)
    except Error as error:
        logger.warning("the heartbeat could not be written (%s); it will be tried again", type(error).__name__)


def require_broker(consumer: Any) -> None:
    """Raise what a worker takes for a lost connection when it gets no more messages; then it connects anew.

    It does not always notice by itself. With all children busy it does not listen to Redis; when Redis dies then and
    the acknowledgements of their messages fail, it keeps their places taken and never listens again, also with Redis
    back (measured on kombu 5.7.0).

    Raises:
        ConnectionError: its places are taken by messages that no task belongs to; or Redis' own, which does not answer.
    """
    with consumer.connection.default_channel.conn_or_acquire() as client:
        client.ping()
    if not consumer.task_consumer.channel.qos.can_consume() and not state.reserved_requests:
        raise ConnectionError("messages were not acknowledged while Redis was away, and no other is taken")


class Heartbeats(bootsteps.StartStopStep):
    """The part of a worker that writes its heartbeats for as long as it is connected to the broker.

    The worker's loop wakes a thread and the thread writes, so both are needed: a loop that stands still wakes nobody,
    and a database that hangs does not keep the loop from its broker.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.due = threading.Event()
        self.thread: threading.Thread | None = None
        self.alarm: Any = None

    def start(self, consumer: Any) -> None:
        """Connected, for the first time or again."""
        if self.thread is None:
            kinds = tuple(map(worker_kind, consumer.app.amqp.queues.consume_from))
            self.thread = threading.Thread(target=self.write_when_due, args=kinds, name="heartbeats", daemon=True)
            self.thread.start()
        self.alarm = consumer.timer.call_repeatedly(SECONDS, self.turn, (consumer,))
        self.due.set()

    def stop(self, consumer: Any) -> None:
        """The connection is lost, or the worker ends."""
        if self.alarm is not None:
            consumer.timer.cancel(self.alarm)
            self.alarm = None

    def turn(self, consumer: Any) -> None:
        """What the loop does every few seconds."""
        require_broker(consumer)
        self.due.set()

    def write_when_due(self, *kinds: str) -> None:
        """Write each time that the loop says so, until the process ends."""
        while True:
            self.due.wait()
            self.due.clear()
            write_heartbeats(*kinds)
