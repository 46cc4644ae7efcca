"""`./dev up`, as a person uses it: the real command in a process of its own, on a directory that stays."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import family
import httpx
import pytest

from local_stack import ports, up
from local_stack.errors import StackError
from local_stack.processes import wait_until

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120


class Command:
    """One `python -m local_stack ...` on a directory."""

    def __init__(self, home, port, *arguments):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BOLTZ")}
        self.output = home.with_name(f"{home.name}-{port}.output")
        self.start = len(self.said())
        with self.output.open("a") as output:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "local_stack", *arguments],
                cwd=ROOT,
                env=environment | {"BOLTZ_HOME": str(home), "BOLTZ_PORT": str(port)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self):
        return self.output.read_text()[getattr(self, "start", 0) :] if self.output.exists() else ""

    def wait_for(self, text, *, times=1):
        found = wait_until(
            lambda: self.said().count(text) >= times or self.child.poll() is not None, seconds=START_SECONDS
        )
        assert found, self.said()
        assert self.said().count(text) >= times, self.said()

    def end(self, number=None):
        """Send a signal, wait for the end; the exit code."""
        if number is not None:
            self.child.send_signal(number)
        return self.child.wait(timeout=60)


@pytest.fixture
def command(directory):
    started = []

    def run(*arguments, port=None):
        started.append(Command(directory / "home", port or run.port, *arguments))
        return started[-1]

    run.port = ports.free_port()
    run.home = directory / "home"
    yield run
    for one in started:
        if one.child.poll() is None:
            one.end(signal.SIGTERM)


def get(command, path):
    return httpx.get(f"http://127.0.0.1:{command.port}{path}", trust_env=False, timeout=10)


def test_the_mesh_comes_up_is_used_is_killed_and_comes_up_again(command):
    first = command("up")
    first.wait_for("The mesh is up")
    password = re.search(r"admin   (\S{16,})", first.said())[1]
    assert get(command, "/readyz").status_code == 200

    # what a first start makes is there, and manage.py finds the servers that run
    looked = command("manage", "shell", "-v", "0", "-c", LOOK)
    assert looked.end() == 0, looked.said()
    assert "boltz-core 1 open" in looked.said()

    # secrets are for their owner
    secrets = list((command.home / "secrets").iterdir())
    assert {"secret-key", "key-encryption-key", "postgres-password", "redis-password"} <= {
        path.name for path in secrets
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert not any(password in path.read_text() for path in secrets)
    assert not any(password.encode() in path.read_bytes() for path in (command.home / "log").iterdir())

    # the admin can log in with the password that was shown
    assert can_log_in(command, password)

    # one mesh a directory
    second = command("up", port=ports.free_port())
    assert second.end() == 1
    assert f"run by process {first.child.pid} already" in second.said()

    # a program or a server that is killed is started again
    for name in ("worker", "redis", "postgres"):
        os.kill(int((command.home / "run" / name).read_text().split()[0]), signal.SIGKILL)
        first.wait_for(f"{name} ended with code -9; starting it again")
    assert wait_until(lambda: get(command, "/readyz").json() == {"database": "ok", "redis": "ok"}, seconds=60)

    # kill -9 of the whole command leaves nothing, and the next start finds everything
    members = family.descendants(first.child.pid)
    assert len(family.alive(members)) >= 10
    first.end(signal.SIGKILL)
    again = command("up")
    again.wait_for("The mesh is up")
    assert not family.alive(members)
    assert "Log in as" not in again.said()
    assert password not in again.said()
    assert can_log_in(command, password)

    # Ctrl-C
    members = family.descendants(again.child.pid)
    assert again.end(signal.SIGINT) == 0
    assert not family.alive(members)
    assert "the data is kept" in again.said()
    assert not list((command.home / "run").iterdir())


LOOK = """
from django.apps import apps
for round_ in apps.get_model("rounds", "Round").objects.select_related("model"):
    print(round_.model.name, round_.number, round_.state)
"""


def can_log_in(command, password):
    with httpx.Client(base_url=f"http://127.0.0.1:{command.port}", trust_env=False, timeout=10) as browser:
        page = browser.get("/admin/login/")
        assert page.status_code == 200
        answer = browser.post(
            "/admin/login/?next=/admin/",
            data={"username": "admin", "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]},
        )
    return answer.status_code == httpx.codes.FOUND


def test_a_start_that_is_interrupted_leaves_no_process(command):
    started = command("up")
    assert wait_until((command.home / "run" / "redis").exists, seconds=START_SECONDS), started.said()
    members = family.descendants(started.child.pid)
    assert family.alive(members)
    assert started.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert not family.alive(members)


def test_a_taken_port_is_said_by_name_with_the_way_out_before_anything_starts(command):
    with socket.socket() as holder:
        holder.bind((ports.LOOPBACK, 0))
        holder.listen()
        port = holder.getsockname()[1]
        refused = command("up", port=port)
        assert refused.end() == 1
    assert f"Port {port} is taken by" in refused.said()
    assert f"(process {os.getpid()})" in refused.said()
    assert f"BOLTZ_PORT={port + 1}" in refused.said()
    assert "Traceback" not in refused.said()
    assert not (command.home / "postgres").exists()


def test_a_command_without_the_mesh_gets_its_own_servers_which_end_with_it(command):
    ran = command("run", "--", "sh", "-c", 'echo "url $DATABASE_URL"; exit 7')
    assert ran.end() == 7
    assert "url postgresql://boltz:" in ran.said()
    assert (command.home / "postgres" / "PG_VERSION").exists()
    assert not list((command.home / "run").iterdir())


def test_a_command_that_is_asked_to_end_ends_and_so_do_its_servers(command):
    ran = command("run", "sh", "-c", "echo here; exec sleep 600")
    ran.wait_for("here")
    members = family.descendants(ran.child.pid)
    assert ran.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert not family.alive(members)


def test_a_command_dies_with_what_ran_it(command):
    ran = command("run", "sh", "-c", "echo here; exec sleep 600")
    ran.wait_for("here")
    members = family.descendants(ran.child.pid)
    ran.end(signal.SIGKILL)
    assert wait_until(lambda: not family.alive(members), seconds=20)


def test_a_command_that_does_not_exist_is_said(command):
    ran = command("run", "no-such-program")
    assert ran.end() == 1
    assert "no-such-program cannot be run: No such file" in ran.said()


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1", "80.5"])
def test_a_port_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("BOLTZ_PORT", text)
    with pytest.raises(StackError, match=f"BOLTZ_PORT is '{text}'"):
        up.chosen_port()


def test_the_port_is_8010_unless_it_is_chosen(monkeypatch):
    monkeypatch.delenv("BOLTZ_PORT", raising=False)
    assert up.chosen_port() == 8010
    monkeypatch.setenv("BOLTZ_PORT", "8011")
    assert up.chosen_port() == 8011


def test_the_data_lies_beside_the_code_unless_it_is_sent_elsewhere(monkeypatch, tmp_path):
    monkeypatch.delenv("BOLTZ_HOME", raising=False)
    assert up.data_directory() == ROOT / ".boltz"
    monkeypatch.setenv("BOLTZ_HOME", str(tmp_path))
    assert up.data_directory() == tmp_path
