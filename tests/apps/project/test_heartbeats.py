"""A worker says for each of its queues that it is alive, as long as it is connected; beat says it at each turn."""

import contextlib
import queue
from datetime import timedelta
from types import SimpleNamespace

import pytest
import redis
from celery import schedules
from celery.worker import state
from django.db import OperationalError
from kombu.asynchronous.timer import Timer
from kombu.utils.imports import symbol_by_name

from apps.aggregation import services as aggregation
from apps.aggregation.models import Heartbeat
from apps.aggregation.selectors import liveness
from boltz_federated import celery_app
from worker import heartbeats, queues


@pytest.fixture
def written(monkeypatch):
    """What a worker's thread writes, in order."""
    rows = queue.Queue()
    monkeypatch.setattr(heartbeats, "write_heartbeats", lambda *kinds: rows.put(kinds))
    return rows


class Broker:
    """As much of a connection to Redis as a worker's heartbeat looks at."""

    def __init__(self):
        self.answers, self.has_room = True, True

    @contextlib.contextmanager
    def conn_or_acquire(self):
        yield self

    def ping(self):
        if not self.answers:
            raise redis.ConnectionError("refused")

    def can_consume(self):
        return self.has_room


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def consumer(broker):
    """What a worker for two queues hands to its parts."""
    taken = {"ingest": None, "control": None}
    return SimpleNamespace(
        app=SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from=taken))),
        timer=Timer(),
        connection=SimpleNamespace(default_channel=broker),
        task_consumer=SimpleNamespace(channel=SimpleNamespace(qos=broker)),
    )


def ring(timer):
    """Let everything happen that the loop has to do at some time; how much that was."""
    due = [scheduled.entry for scheduled in timer.queue if not scheduled.entry.canceled]
    for entry in due:
        entry()
    return len(due)


def test_a_worker_is_seen_for_each_of_its_queues_as_soon_as_it_is_connected(consumer, written):
    heartbeats.Heartbeats(consumer).start(consumer)
    assert written.get(timeout=10) == ("ingest-worker", "control-worker")


def test_each_turn_of_the_loop_makes_it_seen_again(consumer, written):
    heartbeats.Heartbeats(consumer).start(consumer)
    written.get(timeout=10)
    assert ring(consumer.timer) == 1
    assert written.get(timeout=10) == ("ingest-worker", "control-worker")


def test_a_worker_without_a_connection_is_silent(consumer, written):
    step = heartbeats.Heartbeats(consumer)
    step.start(consumer)
    written.get(timeout=10)
    step.stop(consumer)
    assert ring(consumer.timer) == 0


def test_a_worker_that_is_connected_again_is_seen_again_by_the_same_thread(consumer, written):
    step = heartbeats.Heartbeats(consumer)
    step.start(consumer)
    written.get(timeout=10)
    thread = step.thread
    step.stop(consumer)
    step.start(consumer)
    assert written.get(timeout=10) == ("ingest-worker", "control-worker")
    assert step.thread is thread


def test_a_worker_that_was_never_connected_ends_without_a_word(consumer):
    heartbeats.Heartbeats(consumer).stop(consumer)
    assert ring(consumer.timer) == 0


def test_a_worker_that_does_not_reach_redis_is_silent_and_told_to_connect_anew(consumer, broker, written):
    heartbeats.Heartbeats(consumer).start(consumer)
    written.get(timeout=10)
    broker.answers = False
    with pytest.raises(redis.ConnectionError):
        ring(consumer.timer)
    assert written.empty()


def test_a_worker_whose_places_are_taken_by_messages_of_no_task_is_told_to_connect_anew(consumer, broker):
    broker.has_room = False
    with pytest.raises(ConnectionError, match="messages were not acknowledged"):
        heartbeats.require_broker(consumer)


def test_a_worker_that_is_busy_with_all_it_may_take_is_alive(consumer, broker, monkeypatch):
    broker.has_room = False
    monkeypatch.setattr(state, "reserved_requests", {"a request"})
    heartbeats.require_broker(consumer)


@pytest.mark.parametrize("error", [ConnectionError, redis.ConnectionError, redis.TimeoutError])
def test_what_is_told_is_what_a_worker_takes_for_a_lost_connection(error):
    with celery_app.connection_for_read() as connection:
        assert issubclass(error, connection.connection_errors)


def test_every_worker_has_this_part():
    assert heartbeats.Heartbeats in celery_app.steps["consumer"]


def test_every_queue_has_a_kind_of_process_that_is_missed():
    kinds = {heartbeats.worker_kind(queue.name) for queue in queues.QUEUES}
    assert kinds == {kind for kind in liveness.MEANINGS if kind.endswith("-worker")}


@pytest.mark.django_db(transaction=True)
def test_a_heartbeat_is_written_for_each_kind():
    heartbeats.write_heartbeats("ingest-worker", "control-worker")
    assert set(Heartbeat.objects.values_list("kind", flat=True)) == {"ingest-worker", "control-worker"}


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_said_and_survived(monkeypatch, caplog):
    def refuse(_kind):
        raise OperationalError("connection to postgresql://user:hidden@host refused")

    monkeypatch.setattr(aggregation, "beat_heart", refuse)
    heartbeats.write_heartbeats("ingest-worker")
    assert "the heartbeat could not be written (OperationalError)" in caplog.text
    assert "hidden" not in caplog.text


@pytest.mark.django_db(transaction=True)
def test_beat_is_seen_at_each_turn_of_its_loop_though_nothing_is_due():
    scheduler = symbol_by_name(celery_app.conf.beat_scheduler)(app=celery_app, lazy=True)
    scheduler._finalize.cancel()
    assert scheduler.tick() == celery_app.conf.beat_max_loop_interval
    assert Heartbeat.objects.get().kind == "beat"


def test_beat_turns_its_loop_more_often_than_it_is_missed():
    assert celery_app.conf.beat_max_loop_interval < liveness.longest_silence("beat").total_seconds() / 2
    assert liveness.longest_silence("ingest-worker").total_seconds() / 2 > heartbeats.SECONDS


@pytest.mark.parametrize("seconds", [0.5, 1.5, 30.0])
def test_a_restarted_beat_rings_as_often_as_the_one_before(db, seconds):
    scheduler = symbol_by_name(celery_app.conf.beat_scheduler)
    for _ in range(2):
        row, _ = scheduler.Entry.to_model_schedule(schedules.schedule(seconds))
        row.refresh_from_db()
        assert row.schedule.run_every == timedelta(seconds=seconds)


def test_a_schedule_at_times_of_the_day_is_stored_as_ever(db):
    scheduler = symbol_by_name(celery_app.conf.beat_scheduler)
    assert scheduler.Entry.to_model_schedule(schedules.crontab("0", "4"))[1] == "crontab"
