"""Web says that limits hold: the heartbeat `limits`, begun where web servers load the mesh."""

import queue
import runpy

import pytest

from apps.limits.limiter import limiter
from boltz_federated import request_limits
from tests.apps.project.processes import ROOT


@pytest.fixture
def written(monkeypatch):
    """The kinds of heartbeats, as they are written."""
    kinds = queue.Queue()
    monkeypatch.setattr(request_limits, "write_heartbeats", kinds.put)
    return kinds


def test_web_has_a_heartbeat_for_as_long_as_redis_counts(written):
    request_limits.watch_redis()
    assert written.get(timeout=10) == "limits"


def test_there_is_none_while_redis_does_not_answer(written, own_redis, hanging, settings):
    settings.REDIS_URL = own_redis.url
    limiter.cache_clear()
    with hanging():
        limiter().circuit._alive = lambda: written.put("limits")
        for _ in range(3):
            limiter().circuit._look()
        assert written.empty()
        assert limiter().circuit.is_open
    while limiter().circuit.is_open:
        limiter().circuit._look()
    assert written.get(timeout=10) == "limits"


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_each_way_to_serve_the_mesh_begins_to_watch(monkeypatch, kind):
    began = []
    monkeypatch.setattr(request_limits, "watch_redis", lambda: began.append(kind))
    monkeypatch.setattr(f"django.core.{kind}.get_{kind}_application", lambda: "the application")
    loaded = runpy.run_path(str(ROOT / "boltz_federated" / f"{kind}.py"))
    assert (loaded["application"], began) == ("the application", [kind])
