"""Is the process alive, can it serve, and what is the state of the mesh."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apps.aggregation import services as aggregation
from apps.aggregation.models import Heartbeat
from apps.keys import services as keys
from apps.rounds.models import Update
from tests.apps.places import alpha, joined, layout, model, place, submit

__all__ = ["alpha", "joined", "layout", "model", "place"]


def metrics(mesh_http):
    answer = mesh_http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.content.decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_a_process_that_answers_is_alive_whatever_else_is_missing(mesh_http):
    answer = mesh_http.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_a_mesh_that_can_take_uploads_is_ready(mesh, mesh_http):
    answer = mesh_http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"database": "ok", "redis": "ok"})


def test_a_mesh_whose_key_file_is_gone_is_not_ready(mesh, mesh_http):
    kid = keys.signing_key().kid
    keys.key_store().destroy(kid)
    answer = mesh_http.get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, f"key {kid} is not in the key directory")


@pytest.mark.parametrize("path", ["healthz", "readyz", "metrics"])
def test_probes_are_answered_without_tls(path, settings):
    assert any(re.search(pattern, path) for pattern in settings.SECURE_REDIRECT_EXEMPT)


def test_rows_are_counted_by_state(place, joined, mesh_http):
    submit(place)
    submit(joined("beta"))
    Update.objects.filter(pk=place.upload_id).update(state="staged")
    found = metrics(mesh_http)
    assert found["boltz_clients", "active"] == 2
    assert found["boltz_rounds", "open"] == 1
    assert (found["boltz_updates", "staged"], found["boltz_updates", "received"]) == (1, 1)


def test_the_age_of_the_oldest_waiting_update_is_told(place, mesh_http):
    assert metrics(mesh_http)["boltz_oldest_waiting_update_seconds",] == 0
    submit(place)
    Update.objects.update(received_at=timezone.now() - timedelta(seconds=100))
    assert metrics(mesh_http)["boltz_oldest_waiting_update_seconds",] == pytest.approx(100, abs=5)


def test_the_age_of_each_heartbeat_is_told(mesh, mesh_http):
    aggregation.beat_heart("ingest-worker")
    Heartbeat.objects.update(at=timezone.now() - timedelta(seconds=50))
    assert metrics(mesh_http)["boltz_heartbeat_age_seconds", "ingest-worker"] == pytest.approx(50, abs=5)


def test_metrics_name_no_client(place, mesh_http):
    assert "alpha" not in mesh_http.get("/metrics").content.decode()
