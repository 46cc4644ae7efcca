"""`./dev fuzz`: what it runs, and what it says to arguments that make no sense."""

import runpy
import subprocess
import sys

import pytest

from local_stack.mesh import ROOT
from tests.fuzz import __main__ as command_line
from tests.fuzz.examination import FoundError


@pytest.fixture
def asked(monkeypatch):
    """What would have been fuzzed, instead of fuzzing it."""
    found = []
    counts = {"parsers": {"codec": 150}, "api": {("getMe", "a client", 200): 7, ("getMe", "a client", 415): 2}}
    monkeypatch.setattr(command_line, "fuzz", lambda part, **options: found.append((part, options)) or counts[part])
    return found


def test_the_command_of_dev_is_the_one_that_fuzzes():
    _, arguments = runpy.run_path(str(ROOT / "dev"))["COMMANDS"]["fuzz"]
    ended = subprocess.run([sys.executable, *arguments, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "usage: ./dev fuzz" in ended.stdout


def test_both_parts_are_fuzzed_from_the_seed_for_so_long_each(asked):
    assert command_line.main(["--minutes", "1.5", "--seed", "42"]) == 0
    assert asked == [("parsers", {"seed": 42, "seconds": 90.0}), ("api", {"seed": 42, "seconds": 90.0})]


def test_one_part_can_be_fuzzed_alone(asked):
    command_line.main(["--only", "api"])
    assert [part for part, _ in asked] == ["api"]


def test_it_tells_how_often_what_was_answered(asked, capsys):
    command_line.main(["--seed", "42"])
    told = capsys.readouterr().out
    assert "codec" in told
    assert "examples: 150" in told
    assert "200: 7, 415: 2" in told
    assert "nothing was found; seed 42" in told


def test_a_seed_that_was_not_given_is_drawn_before_anything_is_fuzzed(asked, capsys):
    command_line.main(["--minutes", "1"])
    assert f"seed {asked[0][1]['seed']}" in capsys.readouterr().out.splitlines()[0]


def test_a_finding_is_told_and_ends_with_1(monkeypatch, capsys):
    def fail(*_, **__):
        raise FoundError("getMe, nobody: status 500")

    monkeypatch.setattr(command_line, "fuzz", fail)
    assert command_line.main(["--seed", "42"]) == 1
    assert "getMe, nobody: status 500" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--minutes", "many"], "'many' is not a number of minutes"),
        (["--seed", "-3"], "'-3' is not a whole number"),
        (["--only", "nothing"], "invalid choice: 'nothing'"),
        (["-k", "redis"], "unrecognized arguments: -k redis"),
    ],
)
def test_arguments_that_cannot_be_fuzzed_with_are_refused(arguments, said, asked, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert asked == []
