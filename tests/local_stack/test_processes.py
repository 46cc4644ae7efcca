import os
import signal
import sys
from pathlib import Path

import pytest

from local_stack import processes
from local_stack.processes import Process, ProcessFailedError, Program, wait_until

pytestmark = pytest.mark.processes
SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER
# a child that ignores what ends its parent
FAMILY = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]);" + SLEEPER


def is_alive(pid):
    return bool(processes._started_at(pid))


def group_members(group):
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


@pytest.fixture
def make(directory):
    made = []

    def make(script, **options):
        program = Program("program", (sys.executable, "-c", script), **options)
        made.append(Process(program, directory=directory, working_directory=directory))
        return made[-1]

    yield make
    for process in made:
        process.kill()


def start(process, *, lines=1):
    process.start(environment=dict(os.environ))
    assert wait_until(lambda: process.log_tail().count("ready") >= lines, seconds=20), process.log_tail()


def test_a_process_runs_until_it_is_stopped(make):
    process = make(SLEEPER)
    start(process)
    pid = process.pid
    assert process.is_running()
    process.stop()
    assert not process.is_running()
    assert not is_alive(pid)
    assert process.exit_code == -signal.SIGTERM


def test_what_ignores_the_polite_signal_is_killed_when_the_time_is_up(make):
    process = make(STUBBORN, stop_seconds=0.2)
    start(process)
    process.stop()
    assert process.exit_code == -signal.SIGKILL


def test_a_program_is_stopped_with_the_signal_it_likes(make):
    # a suite that runs in the background inherits that SIGINT, SIGQUIT and SIGHUP are ignored, and so does the program
    process = make(SLEEPER, stop_signal=signal.SIGUSR1)
    start(process)
    process.stop()
    assert process.exit_code == -signal.SIGUSR1


def test_a_frozen_process_is_stopped_politely_too(make):
    process = make(SLEEPER)
    start(process)
    process.send(signal.SIGSTOP)
    process.stop()
    assert process.exit_code == -signal.SIGTERM


def test_children_end_with_the_leader_of_their_group(make):
    process = make(FAMILY)
    start(process, lines=2)
    group = process.pid
    assert len(group_members(group)) == 2
    process.stop()
    assert wait_until(lambda: not group_members(group), seconds=10)


def test_children_of_a_leader_that_was_killed_are_not_left_behind(make):
    process = make(FAMILY)
    start(process, lines=2)
    group = process.pid
    os.kill(group, signal.SIGKILL)
    assert wait_until(lambda: not process.is_running(), seconds=10)
    assert wait_until(lambda: not group_members(group), seconds=10)


def test_standard_input_reaches_the_program_and_not_its_command_line(make):
    process = make("import sys; print('ready', sys.stdin.read())")
    process.start(environment=dict(os.environ), standard_input=b"a password")
    assert wait_until(lambda: "ready a password" in process.log_tail(), seconds=20)
    assert "a password" not in " ".join(process.program.command)


def test_a_program_that_ends_before_it_reads_is_no_error_of_the_writer(make):
    process = make("raise SystemExit(3)")
    process.start(environment=dict(os.environ), standard_input=b"x" * 10_000_000)
    assert wait_until(lambda: not process.is_running(), seconds=20)
    assert process.exit_code == 3


def test_a_process_that_ended_is_reported_with_its_code_and_the_end_of_its_log(make):
    process = make("print('what went wrong'); raise SystemExit(3)")
    process.start(environment=dict(os.environ))
    assert wait_until(lambda: not process.is_running(), seconds=20)
    with pytest.raises(ProcessFailedError, match=r"code 3(.|\n)*what went wrong"):
        process.require_running()


def test_a_running_process_is_not_started_twice(make):
    process = make(SLEEPER)
    start(process)
    with pytest.raises(ProcessFailedError, match="running already"):
        process.start(environment={})


def test_a_process_can_be_started_again(make):
    process = make(SLEEPER)
    start(process)
    first = process.pid
    process.kill()
    start(process, lines=2)
    assert process.pid != first


def test_what_does_not_run_has_no_process_id_and_no_log(make):
    process = make(SLEEPER)
    process.stop()
    assert not process.log_tail()
    with pytest.raises(ProcessFailedError, match="not running"):
        _ = process.pid


ORPHANS = """
    import os, sys
    from pathlib import Path
    from local_stack.processes import Process, Program
    directory = Path(sys.argv[1])
    process = Process(Program("program", (sys.executable, "-c", sys.argv[2])), directory=directory, working_directory=directory)
    process.start(environment=dict(os.environ))
    print(process.pid, flush=True)
    sys.stdin.read()
    import time; time.sleep(600)
"""


def test_a_process_dies_when_its_starter_is_killed(directory, python):
    starter = python(ORPHANS, directory, SLEEPER)
    pid = int(starter.stdout.readline())
    assert is_alive(pid)
    starter.kill()
    assert wait_until(lambda: not is_alive(pid), seconds=10)


def test_a_start_waits_for_what_a_killed_run_left_behind(directory, python, make):
    slow = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), sys.exit()));" + SLEEPER
    )
    starter = python(ORPHANS, directory, slow)
    old = int(starter.stdout.readline())
    process = make(SLEEPER)
    assert wait_until(lambda: "ready" in process.log_tail(), seconds=20)
    starter.kill()
    starter.wait()
    start(process, lines=2)
    assert not is_alive(old)


def test_what_a_killed_run_left_behind_for_good_is_named(directory, python, make, monkeypatch):
    monkeypatch.setattr(processes, "_PREDECESSOR_SECONDS", 0.2)
    starter = python(ORPHANS, directory, STUBBORN)
    old = int(starter.stdout.readline())
    process = make(SLEEPER)
    assert wait_until(lambda: "ready" in process.log_tail(), seconds=20)
    starter.kill()
    starter.wait()
    try:
        with pytest.raises(ProcessFailedError, match=f"earlier run is still there as process {old}"):
            process.start(environment={})
    finally:
        os.kill(old, signal.SIGKILL)


def test_a_stranger_with_the_old_number_is_not_waited_for(make):
    process = make(SLEEPER)
    process._record.parent.mkdir(parents=True)
    process._record.write_text(f"{os.getpid()} 1")
    start(process)
    assert process.is_running()


def test_waiting_ends_when_the_time_is_up():
    assert not wait_until(lambda: False, seconds=0.05)
