"""A database or a Redis that is not there: said at the start, survived at work."""

import time

import celery
import pytest
from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections

from apps import dispatch
from apps.rounds.models import Update
from boltz_federated import health
from tests.apps.hostile_envelopes import seal, send
from tests.apps.places import alpha, joined, layout, model, place, vector_of
from tests.apps.project.processes import NOWHERE, manage
from tests.apps.signed_requests import refusal
from tests.apps.unchanged import nothing_changes

__all__ = ["alpha", "joined", "layout", "model", "place"]


@pytest.fixture
def no_redis(monkeypatch, settings):
    """A broker that is not there."""
    app = celery.Celery("nowhere", set_as_current=False)
    app.config_from_object("worker.configuration")
    app.conf.update(broker_url=f"redis://{NOWHERE}/0", result_backend=f"redis://{NOWHERE}/0")
    settings.REDIS_URL = f"redis://{NOWHERE}/0"
    monkeypatch.setattr(dispatch, "current_app", app)
    monkeypatch.setattr(dispatch, "_publisher", dispatch.Publisher())
    return app


@pytest.fixture(params=[OperationalError("connection refused"), InterfaceError("connection already closed")], ids=str)
def no_database(request, monkeypatch):
    """A database that is not there, as far as this process's next cursor is concerned."""

    def refuse(*_, **__):
        raise request.param

    def begin():
        monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], "cursor", refuse)

    yield begin
    monkeypatch.undo()


@pytest.mark.parametrize("command", [["first_start"], ["reconcile"]], ids=" ".join)
def test_a_command_that_needs_the_database_says_that_it_is_not_there(command, tmp_path):
    ended = manage(*command, DATABASE_URL=f"postgresql://boltz:hidden@{NOWHERE}/boltz", BOLTZ_DATA_DIR=str(tmp_path))
    assert ended.returncode == 1
    assert "The database cannot be used; is it running, and is DATABASE_URL right?" in ended.stderr
    assert "Connection refused" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hidden" not in ended.stderr + ended.stdout


def test_the_mesh_starts_without_redis(tmp_path):
    ended = manage("check", REDIS_URL=f"redis://:hidden@{NOWHERE}/0", BOLTZ_DATA_DIR=str(tmp_path))
    assert ended.returncode == 0


def test_without_the_database_a_request_is_told_when_to_come_back(place, no_database, mesh_http):
    headers = place.client.signer.headers("GET", "/api/v1/models")
    no_database()
    answer = mesh_http.get("/api/v1/models", headers=headers)
    assert refusal(answer) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "refused" not in answer.text


def test_without_the_database_no_upload_is_promised(place, no_database, mesh_http, monkeypatch):
    body = seal(place, vector_of(place.layout))
    headers = place.client.signer.headers("PUT", place.path, body=body, content_type="application/vnd.boltz.envelope")
    with nothing_changes():
        no_database()
        assert refusal(mesh_http.put(place.path, content=body, headers=headers)) == (503, "database_unavailable")
        monkeypatch.undo()


@pytest.mark.django_db(transaction=True)
def test_without_redis_an_upload_is_taken_as_ever_and_at_once(place, no_redis, caplog):
    began = time.monotonic()
    assert send(place, seal(place, vector_of(place.layout))).status_code == 202
    assert time.monotonic() - began < 5
    assert Update.objects.get().state == "received"
    dispatch._publisher.drain(30)
    assert "could not publish rounds.process_update: OperationalError" in caplog.text


def test_without_redis_the_mesh_is_ready_and_says_what_is_missing(mesh, no_redis, mesh_http):
    answer = mesh_http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "database": "ok",
        "redis": "unreachable (ConnectionError); messages wait for the reconciler",
    }


def test_without_the_database_the_mesh_is_not_ready(mesh, no_database, rf):
    no_database()
    answer = health.ready(rf.get("/readyz"))
    assert answer.status_code == 503
    assert b'"database": "unreachable (' in answer.content
    assert b"refused" not in answer.content


def test_a_mesh_without_keys_is_not_ready(mesh_http):
    answer = mesh_http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["database"] == "no keys: run manage.py first_start"
