"""What is started on a stage is gone afterwards, however the stage ends and wherever its processes have gone."""

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.peers import stage as stages
from benchmarks.peers.marked import marked
from benchmarks.peers.stage import CLIENTS, SERVER, staged
from local_stack.mesh import ROOT
from local_stack.processes import wait_until

PYTHON = Path(sys.executable)
SECONDS = 20.0
# leaves its group and its parent, as a daemon does
DAEMON = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\ntime.sleep(600)"
# a benchmark that is killed while its peer runs
BENCHMARK = """
import sys, time
from pathlib import Path
from benchmarks.peers.stage import staged
with staged(Path(sys.executable), {}) as stage:
    stage.start(sys.executable, "-c", sys.argv[1], role="server", name="daemon")
    print(stage.mark, stage.directory, flush=True)
    time.sleep(600)
"""


def start_daemon(stage, role=SERVER, name="daemon"):
    before = len(marked(f"{stage.mark}/{role}/"))
    stage.start(sys.executable, "-c", DAEMON, role=role, name=name)
    assert wait_until(lambda: len(marked(f"{stage.mark}/{role}/")) == before + 2, seconds=SECONDS)


def test_nothing_is_left_at_the_end():
    with staged(PYTHON, {}) as stage:
        start_daemon(stage)
    assert marked(f"{stage.mark}/") == []
    assert not stage.directory.exists()


def test_nothing_is_left_after_an_error():
    with ExitStack() as stack:
        stage = stack.enter_context(staged(PYTHON, {}))
        start_daemon(stage)
        with pytest.raises(KeyboardInterrupt), stack.pop_all():
            raise KeyboardInterrupt
    assert marked(f"{stage.mark}/") == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_when_the_benchmark_is_ended(number):
    command = [sys.executable, "-c", BENCHMARK, DAEMON]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as benchmark:
        mark, directory = benchmark.stdout.readline().split()
        assert wait_until(lambda: len(marked(f"{mark}/")) == 2, seconds=SECONDS)
        benchmark.send_signal(number)
    assert wait_until(lambda: not marked(f"{mark}/") and not Path(directory).exists(), seconds=SECONDS)


def test_processes_of_another_stage_are_left_alone():
    with staged(PYTHON, {}) as other:
        start_daemon(other)
        with staged(PYTHON, {}) as stage:
            start_daemon(stage)
        assert len(marked(f"{other.mark}/")) == 2


def test_server_and_clients_are_told_apart():
    with staged(PYTHON, {}) as stage:
        start_daemon(stage, SERVER, "server")
        start_daemon(stage, CLIENTS, "client-0")
        start_daemon(stage, CLIENTS, "client-1")
        assert {role: len(pids()) for role, pids in stage.groups.items()} == {SERVER: 2, CLIENTS: 4}


def test_a_program_knows_its_home_and_nothing_of_ours(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1:3128")
    with staged(PYTHON, {"PEER_HOME": "{home}/kept"}) as stage:
        stage.run(sys.executable, "-c", "import os; print(dict(os.environ))", name="said")
        said = stage.log_tail("said")
        assert f"'PEER_HOME': '{stage.directory}/kept'" in said
        assert f"'HOME': '{stage.directory}'" in said
        assert "192.0.2.1" not in said


def test_a_program_that_fails_is_reported_with_what_it_said():
    with staged(PYTHON, {}) as stage, pytest.raises(SystemExit, match=r"code 3:\n.*no such federation"):
        stage.run(sys.executable, "-c", "print('no such federation'); raise SystemExit(3)", name="submission")


def test_a_program_that_should_last_and_ends_is_reported_at_once():
    started = time.monotonic()
    with staged(PYTHON, {}) as stage:
        stage.start(sys.executable, "-c", "print('no port'); raise SystemExit(4)", role=SERVER, name="link")
        with pytest.raises(SystemExit, match=r"link ended with code 4:\nno port"):
            stage.wait_for(lambda: False, what="a model")
    assert time.monotonic() - started < SECONDS


def test_what_does_not_come_in_time_is_named_with_what_the_server_said(monkeypatch):
    monkeypatch.setattr(stages, "PATIENCE_SECONDS", 0.5)
    with staged(PYTHON, {}) as stage:
        start_daemon(stage)
        with pytest.raises(SystemExit, match=r"model 3 did not come within 0 s\.\n\ndaemon:"):
            stage.wait_for(lambda: False, what="model 3")
