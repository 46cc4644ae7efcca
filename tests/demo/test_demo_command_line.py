import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from demo import __main__ as command_line
from demo import participant, run
from demo.crowd import ClientDiedError
from local_stack import interrupts
from local_stack.errors import StackError


def test_the_defaults_are_those_of_the_readme(monkeypatch):
    monkeypatch.delenv("BOLTZ_PORT", raising=False)
    options = command_line.parse([])
    assert (options.clients, options.rounds, options.seed, options.port, options.keep) == (12, 10, 7, 8010, False)
    assert options.report == Path("demo-report.html")


def test_the_port_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("BOLTZ_PORT", "8123")
    assert command_line.parse([]).port == 8123
    assert command_line.parse(["--port", "0"]).port == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--clients", "2"],
        ["--clients", "many"],
        ["--rounds", "0"],
        ["--port", "65536"],
        ["--report", "/no/such/folder/report.html"],
        ["--report", "/"],
    ],
    ids=" ".join,
)
def test_what_cannot_work_is_refused_before_anything_starts(words, capsys):
    with pytest.raises(SystemExit) as refused:
        command_line.parse(words)
    assert refused.value.code == 2
    assert words[0] in capsys.readouterr().err


@pytest.fixture
def run_that(monkeypatch):
    """Replace the run by one that raises or returns."""

    def replace(ending):
        def stand_in(_options):
            if isinstance(ending, BaseException):
                raise ending
            return ending

        monkeypatch.setattr(run, "run", stand_in)

    return replace


def test_ctrl_c_ends_with_its_own_exit_code_and_one_line(run_that, capsys):
    run_that(interrupts.InterruptedBySignal(signal.SIGINT))
    assert command_line.main([]) == 130
    assert capsys.readouterr().err == "stopped; nothing was kept\n"


def test_an_error_of_the_stack_is_one_message_and_exit_code_1(run_that, capsys):
    run_that(StackError("Port 8010 is taken by sleep (process 7)."))
    assert command_line.main([]) == 1
    assert capsys.readouterr().err == "Port 8010 is taken by sleep (process 7).\n"


def test_a_port_that_is_none_is_said(monkeypatch, capsys):
    monkeypatch.setenv("BOLTZ_PORT", "eighty")
    assert command_line.main([]) == 1
    assert "BOLTZ_PORT is 'eighty'" in capsys.readouterr().err


def test_the_exit_code_of_the_run_is_passed_on(run_that):
    run_that(0)
    assert command_line.main([]) == 0


def test_a_failed_run_says_why(monkeypatch, capsys):
    def fail(**_):
        raise ClientDiedError("Client edge-node-02 ended with code 1.")

    monkeypatch.setattr(run, "prepare", fail)
    assert run.run(SimpleNamespace(port=0, clients=3, rounds=1, seed=7, keep=False, report=Path("r"))) == 1
    assert "The demo failed. Client edge-node-02 ended with code 1." in capsys.readouterr().err


def test_a_pipe_gets_each_line_once(outcome, capsys):
    with run.display(outcome) as shown:
        shown.show(None)
        shown.show(None)
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        f"round {n}/3" for n in (1, 2, 3)
    ]


def test_a_terminal_gets_a_table(outcome, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with run.display(outcome) as shown:
        shown.show(None)
    assert "local-only" in capsys.readouterr().out


class Everyone:
    """A crowd that ends after some looks, or never."""

    def __init__(self, looks):
        self.looks, self.asked = looks, 0

    def have_all_ended(self):
        self.looks -= 1
        return self.looks < 0

    def require_alive(self):
        self.asked += 1


def test_clients_are_given_time_to_leave(monkeypatch):
    monkeypatch.setattr(run, "LOOK_SECONDS", 0.0)
    everyone = Everyone(2)
    run.see_off(everyone)
    assert everyone.asked == 3


def test_a_client_that_stays_fails_the_run(monkeypatch):
    monkeypatch.setattr(run, "LEAVE_SECONDS", 0.0)
    monkeypatch.setattr(run, "LOOK_SECONDS", 0.001)
    with pytest.raises(run.RunFailedError, match="Not every client has left"):
        run.see_off(Everyone(10**9))


def test_a_mesh_that_stands_still_is_given_up_with_its_logs():
    process = SimpleNamespace(require_running=lambda: None, log_tail=lambda: "the worker's last words")
    mesh = SimpleNamespace(processes={"worker": process})
    run.look_after(mesh, Everyone(1), idle_seconds=run.STALL_SECONDS - 1)
    with pytest.raises(run.RunFailedError, match="the worker's last words"):
        run.look_after(mesh, Everyone(1), idle_seconds=run.STALL_SECONDS + 1)


def test_a_round_that_never_opens_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(participant, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(participant, "LOOK_SECONDS", 0.001)
    with pytest.raises(participant.RoundNeverOpenedError, match="round 3"):
        participant.wait_for_round(SimpleNamespace(rounds=lambda *_, **__: ()), 3)


def test_a_client_without_a_mesh_ends_with_a_line_that_says_so(monkeypatch, tmp_path, capsys):
    arguments = ["--url", "http://127.0.0.1:9", "--name", "a", "--kind", "edge_node", "--region", "r", "--rounds", "1"]
    monkeypatch.setattr("sys.argv", ["participant", *arguments, "--home", str(tmp_path), "--misbehave", "nan"])
    monkeypatch.setattr("boltz_client.clock.Clock.jittered", lambda *_: 0.0)
    assert participant.main() == 1
    assert '"event": "failed"' in capsys.readouterr().out
