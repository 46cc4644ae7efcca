"""`manage.py serve`: a server with settings that are right, or one sentence about the one that is wrong."""

import signal
import subprocess
import sys

import httpx
import pytest

from local_stack import ports
from local_stack.processes import wait_until
from tests.apps.project.processes import ROOT, environment, manage

pytestmark = pytest.mark.processes

CHILDREN = ("Spawning worker", "Started worker", "Traceback")


@pytest.fixture
def port():
    return ports.free_port()


@pytest.fixture
def served(port, tmp_path):
    """A server as it is started, from another folder."""
    command = [sys.executable, str(ROOT / "manage.py"), "serve", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment(), cwd=tmp_path, stdout=log, stderr=log)
    yield process
    process.kill()
    process.wait()


def answer(port):
    """What /healthz says; None while nothing answers."""
    try:
        return httpx.get(f"http://{ports.LOOPBACK}:{port}/healthz", timeout=2, trust_env=False).text
    except httpx.TransportError:
        return None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SECRET_KEY": None}, "The settings are not complete: SECRET_KEY is not set."),
        ({"BOLTZ_KEY_ENCRYPTION_KEY": "short"}, "BOLTZ_KEY_ENCRYPTION_KEY is not base64"),
        ({"BOLTZ_ENROLMENT": "closed"}, "it must be open, token or approval"),
        ({"REDIS_URL": "nowhere"}, "REDIS_URL is not an address of Redis"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'LOUD'"),
        ({"GRANIAN_HOST": "0.0.0.0"}, "may listen on this machine only"),  # noqa: S104 - refused
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_is_wrong_ends_the_server_before_it_has_begun(changes, words, port):
    ended = manage("serve", "--port", str(port), **changes)
    assert ended.returncode == 1
    assert words in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not any(word in ended.stdout + ended.stderr for word in CHILDREN)


def test_a_check_of_djangos_that_fails_ends_the_server_before_it_has_begun(port):
    ended = manage("serve", "--port", str(port), CSRF_TRUSTED_ORIGINS="mesh.example")
    assert ended.returncode == 1
    assert "CSRF_TRUSTED_ORIGINS" in ended.stderr
    assert not any(word in ended.stdout + ended.stderr for word in CHILDREN)


def test_with_the_right_settings_it_serves_under_its_own_process_id_until_it_is_told_to_end(served, port, tmp_path):
    assert wait_until(lambda: answer(port) == "ok\n", seconds=60), (tmp_path / "log").read_text()
    assert f"main PID: {served.pid}" in (tmp_path / "log").read_text()
    served.send_signal(signal.SIGTERM)
    assert served.wait(timeout=30) == 0
    assert answer(port) is None
