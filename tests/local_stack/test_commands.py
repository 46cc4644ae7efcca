"""The command line, without the servers."""

import os
import sys

import pytest

from local_stack import __main__ as command_line
from local_stack import attached, directory_lock, processes, up
from local_stack.errors import StackError

HOLD = """
    import sys, time
    from pathlib import Path
    from local_stack import directory_lock
    with directory_lock.hold(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(600)
"""


@pytest.fixture
def ran(monkeypatch):
    """What would have run, instead of running it."""
    commands = []
    monkeypatch.setattr(attached, "run", lambda command: commands.append(tuple(command)) or 0)
    return commands


def test_manage_hands_everything_to_django(ran):
    assert command_line.main(["manage", "migrate", "--noinput", "-v", "2"]) == 0
    assert ran == [(sys.executable, "manage.py", "migrate", "--noinput", "-v", "2")]


@pytest.mark.parametrize("arguments", [["run", "--", "ls", "-l"], ["run", "ls", "-l"]])
def test_run_hands_on_the_command_with_its_options(ran, arguments):
    assert command_line.main(arguments) == 0
    assert ran == [("ls", "-l")]


def test_run_without_a_command_says_how_it_is_used(ran, capsys):
    with pytest.raises(SystemExit):
        command_line.main(["run", "--"])
    assert "run -- COMMAND" in capsys.readouterr().err
    assert ran == []


def test_an_error_is_a_line_and_not_a_traceback(monkeypatch, capsys):
    def fail():
        raise StackError("Redis is not installed.")

    monkeypatch.setattr(up, "run", fail)
    assert command_line.main(["up"]) == 1
    assert capsys.readouterr().err == "Redis is not installed.\n"


def test_a_directory_whose_servers_do_not_answer_is_said(directory, python, monkeypatch):
    monkeypatch.setenv("BOLTZ_HOME", str(directory))
    monkeypatch.setattr(attached, "OTHERS_START_SECONDS", 0.1)
    holder = python(HOLD, directory)
    holder.stdout.readline()
    with (
        pytest.raises(StackError, match=f"process {holder.pid} already. Its servers do not answer"),
        attached.servers(),
    ):
        pass


@pytest.mark.processes
def test_a_command_sees_the_servers_and_its_exit_code_is_ours(directory, monkeypatch, capfd):
    monkeypatch.setenv("BOLTZ_HOME", str(directory / "home"))
    mask = os.umask(0o022)
    try:
        assert command_line.main(["run", "sh", "-c", "echo $REDIS_URL; exit 7"]) == 7
        assert capfd.readouterr().out.startswith("redis://:")
        assert command_line.main(["run", "sh", "-c", "kill -9 $$"]) == 128 + 9
    finally:
        os.umask(mask)
    assert not any(
        processes._started_at(int(path.read_text().split()[0])) for path in (directory / "home/run").iterdir()
    )
    with directory_lock.hold(directory / "home"):
        pass
