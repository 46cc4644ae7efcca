"""A message is a hint: it goes out after the commit, off the caller's thread, and may be lost without harm."""

import queue
import threading

import celery
import pytest
import redis
from django.conf import settings
from django.db import transaction

from apps import dispatch


@pytest.fixture
def published(monkeypatch):
    """What the publisher's thread sent, and on which thread."""
    sent = queue.Queue()
    monkeypatch.setattr(dispatch, "publish", lambda task, *ids: sent.put((task, ids, threading.current_thread().name)))
    monkeypatch.setattr(dispatch, "_publisher", dispatch.Publisher())
    return sent


@pytest.mark.django_db(transaction=True)
def test_a_message_goes_out_after_the_commit_on_another_thread(published):
    with transaction.atomic():
        dispatch.send_on_commit("task", 1, "two")
        assert published.empty()
    assert published.get(timeout=10) == ("task", (1, "two"), "publisher")


@pytest.mark.django_db(transaction=True)
def test_a_rollback_sends_nothing(published):
    with transaction.atomic():
        dispatch.send_on_commit("task", 1)
        transaction.set_rollback(True)
    dispatch.send_on_commit("after", 2)
    assert published.get(timeout=10)[0] == "after"


def test_a_full_buffer_drops_the_message_and_says_so(monkeypatch, caplog):
    publisher = dispatch.Publisher()
    publisher._buffer = queue.Queue(maxsize=1)
    publisher._thread = threading.current_thread()  # alive, and not publishing
    assert publisher.put("task", (1,))
    assert not publisher.put("task", (2,))
    assert "dropped a message for task" in caplog.text


def test_draining_waits_for_the_last_message_and_not_for_ever(monkeypatch):
    go, sent = threading.Event(), []
    monkeypatch.setattr(dispatch, "publish", lambda *message: (go.wait(10), sent.append(message)))
    publisher = dispatch.Publisher()
    publisher.put("task", (1,))
    publisher.drain(0.01)
    assert sent == []
    go.set()
    publisher.drain(10)
    assert sent == [("task", 1)]


def test_a_publisher_whose_thread_is_gone_starts_another_one(published):
    publisher = dispatch.Publisher()
    publisher._thread = threading.Thread(target=lambda: None)
    assert publisher.put("task", (1,))
    assert published.get(timeout=10)[0] == "task"


@pytest.mark.parametrize(("taken", "done"), [(True, []), (False, [(1,)])])
def test_work_is_done_here_when_the_broker_does_not_take_the_message(monkeypatch, taken, done):
    monkeypatch.setattr(dispatch, "publish", lambda *_: taken)
    here = []
    dispatch.kick("task", lambda *ids: here.append(ids), 1)
    assert here == done


def test_a_message_lies_in_its_queue_and_carries_ids_only():
    server = redis.Redis.from_url(settings.REDIS_URL)
    name = celery.current_app.conf.broker_transport_options["global_keyprefix"] + "ingest"
    server.delete(name)
    try:
        assert dispatch.publish("rounds.process_update", "some-id")
        [message] = server.lrange(name, 0, -1)
        assert b"rounds.process_update" in message
    finally:
        server.delete(name)
        server.close()
        celery.current_app.pool.force_close_all()


def test_what_the_broker_raises_is_logged_by_its_kind_only(monkeypatch, caplog):
    class Broken:
        def send_task(self, *_, **__):
            raise ConnectionError("redis://:password@host")

    monkeypatch.setattr(dispatch, "current_app", Broken())
    assert not dispatch.publish("task", 1)
    assert "could not publish task: ConnectionError" in caplog.text
    assert "password" not in caplog.text
