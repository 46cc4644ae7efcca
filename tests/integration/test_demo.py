"""`./dev demo` as a newcomer runs it: real servers, real processes, to its end and to every other end."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
MARK = "BOLTZ_DEMO_TEST"

pytestmark = pytest.mark.processes


class Demo:
    """A demo in a process of its own; everything it starts inherits a mark in its environment."""

    def __init__(self, *arguments):
        self.mark = uuid.uuid4().hex
        self.lines = []
        self._child = subprocess.Popen(
            [sys.executable, "-m", "demo", *arguments],
            cwd=ROOT,
            env=os.environ | {MARK: self.mark, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def until(self, words):
        for line in self._child.stdout:
            self.lines.append(line)
            if words in line:
                return line
        pytest.fail(f"ended before it said {words!r}:\n{self.text}")

    def interrupt(self):
        self._child.send_signal(signal.SIGINT)

    def end(self):
        self.lines += self._child.stdout
        return self._child.wait()

    def kill(self):
        self._child.kill()
        self._child.wait()
        self._child.stdout.close()

    @property
    def text(self):
        return "".join(self.lines)

    @property
    def pid(self):
        return self._child.pid

    def processes(self):
        """Every process that carries the mark, with its command line."""
        return {pid: words for pid, (mark, words) in everyone().items() if mark == self.mark}

    def leftovers(self):
        parents = (Path("/dev/shm"), Path(tempfile.gettempdir()))  # noqa: S108 - only looked at
        folders = [folder for parent in parents for folder in parent.glob(f"boltz-demo-{self.pid}-*")]
        return self.processes(), folders


def everyone():
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        mark = next(
            (entry.partition(b"=")[2].decode() for entry in environment if entry.startswith(f"{MARK}=".encode())), None
        )
        if words:
            found[int(process.name)] = (mark, words)
    return found


@pytest.fixture
def demo():
    demos = []

    def start(*arguments):
        demos.append(Demo(*arguments))
        return demos[-1]

    yield start
    for one in demos:
        one.kill()


def test_a_demo_trains_reports_and_leaves_nothing_behind(demo, tmp_path):
    one = demo("--rounds", "3", "--clients", "4", "--port", "0", "--report", str(tmp_path / "report.html"))
    code = one.end()
    assert code == 0, one.text
    assert one.leftovers() == ({}, [])
    assert re.search(r"round 3/3: joined 6, accepted 6, staged 4, refused not_finite, undecryptable", one.text)
    assert re.search(r"Together the clients forecast .*; \d of 4 gained\.", one.text)
    assert "Refused: misfit-garbage sends bytes that nobody can decrypt; 3 of 3 rounds (undecryptable)" in one.text
    assert "Refused: misfit-nan sends weights that are not numbers; 3 of 3 rounds (not_finite)" in one.text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg ") == 3
    assert page.count('<circle class="federated"') == 2 * 4


@pytest.mark.parametrize(
    "moment", ["reading the market", "starting PostgreSQL", "each in a process of its own", "round 1/"]
)
def test_ctrl_c_leaves_nothing_behind(demo, tmp_path, moment):
    one = demo("--rounds", "30", "--clients", "3", "--port", "0", "--report", str(tmp_path / "report.html"))
    one.until(moment)
    one.interrupt()
    assert one.end() == 128 + signal.SIGINT, one.text
    assert one.leftovers() == ({}, [])
    assert "stopped; nothing was kept" in one.text
    assert "Traceback" not in one.text
    assert not (tmp_path / "report.html").exists()


def test_a_killed_demo_takes_its_processes_with_it(demo):
    one = demo("--rounds", "30", "--clients", "3", "--port", "0")
    one.until("round 1/")
    started = one.processes()
    assert len(started) > 8
    one.kill()
    ended = threading.Event()
    for _ in range(300):
        if not one.processes():
            ended.set()
            break
        ended.wait(0.1)
    assert one.processes() == {}


def test_a_client_that_dies_is_named_with_its_last_lines(demo):
    one = demo("--rounds", "30", "--clients", "3", "--port", "0")
    one.until("round 1/")
    victim = next(
        pid for pid, words in one.processes().items() if "demo.participant" in words and "edge-node-02" in words
    )
    os.kill(victim, signal.SIGKILL)
    assert one.end() == 1
    assert "Client edge-node-02 ended with code -9. Its last lines:" in one.text
    assert '"event": "sent", "round": 1' in one.text
    assert one.leftovers() == ({}, [])


def test_a_taken_port_is_said_by_name_with_the_way_out(demo):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        one = demo("--port", str(port))
        assert one.end() == 1
    assert f"Port {port} is taken by" in one.text
    assert f"process {os.getpid()}" in one.text
    assert f"./dev demo --port {port + 1}" in one.text
    assert "starting" not in one.text


def test_a_kept_demo_lets_the_admin_in_and_ends_on_ctrl_c(demo, tmp_path):
    one = demo("--rounds", "1", "--clients", "3", "--port", "0", "--keep", "--report", str(tmp_path / "report.html"))
    address = one.until("The mesh is still up:").rpartition(": ")[2].strip()
    password = one.until("log in as").split()[-1]
    with httpx.Client(base_url=address, follow_redirects=True, trust_env=False) as browser:
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', browser.get("login/").text)[1]
        answer = browser.post(
            "login/?next=/admin/", data={"username": "admin", "password": password, "csrfmiddlewaretoken": token}
        )
    assert answer.status_code == 200
    assert "/logout/" in answer.text
    one.interrupt()
    assert one.end() == 0, one.text
    assert one.leftovers() == ({}, [])
