"""`./dev demo` as a newcomer runs it: real servers, real processes, to its end and to every other end."""

import os
import re
import signal
import socket
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.integration.running_demo import Demo

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.processes


@pytest.fixture
def demo():
    demos = []

    def start(*arguments):
        demos.append(Demo(sys.executable, "-m", "demo", *arguments, folder=ROOT, environment=os.environ))
        return demos[-1]

    yield start
    for one in demos:
        one.kill()


# --- with its defaults


def test_the_demo_ends_well_and_leaves_nothing_behind(default_demo):
    assert default_demo.exit_code == 0, default_demo.text
    assert (default_demo.processes, default_demo.folders) == ({}, [])


def test_all_twelve_clients_are_in_each_of_the_ten_rounds(default_demo):
    rounds = re.findall(
        r"^round (\d+)/10: joined 14, accepted 14, staged 12, refused not_finite, undecryptable",
        default_demo.text,
        re.MULTILINE,
    )
    assert rounds == [str(number) for number in range(1, 11)]


def test_the_summary_leads_with_what_the_clients_gained(default_demo):
    summary = default_demo.text.partition("\n\n")[2]
    told = re.match(
        r"Together the clients forecast with (\d+\.\d)% lower squared error than alone; (\d+) of 12 gained\.\n", summary
    )
    assert told, default_demo.text
    assert float(told[1]) > 1
    assert int(told[2]) >= 8


def test_both_clients_that_misbehave_are_refused_in_each_round(default_demo):
    summary = default_demo.text.partition("\n\n")[2]
    assert "Refused: misfit-garbage sends bytes that nobody can decrypt; 10 of 10 rounds (undecryptable)\n" in summary
    assert "Refused: misfit-nan sends weights that are not numbers; 10 of 10 rounds (not_finite)\n" in summary


def test_the_report_draws_each_version_and_each_client(default_demo):
    assert default_demo.report.count("<svg ") == 3
    assert default_demo.report.count('<circle class="federated"') == 2 * (1 + 10)
    assert default_demo.report.count('<text class="value"') == 12


# --- with other options, and to other ends


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
