"""`./dev chaos`: what it runs, and what it says to arguments that make no sense."""

import runpy
import subprocess
import sys

import pytest

from local_stack.mesh import ROOT
from tests.chaos import __main__ as command_line
from tests.chaos import soak
from tests.chaos.soak_journal import SoakFailedError


@pytest.fixture
def soaks(monkeypatch):
    """What would have been soaked, instead of soaking it."""
    asked = []
    monkeypatch.setattr(soak, "run", lambda **options: asked.append(options) or {"rounds": {"published": 7}})
    return asked


@pytest.fixture
def tests_run(monkeypatch):
    """What pytest would have been given."""
    asked = []
    monkeypatch.setattr(command_line.pytest, "main", lambda arguments: asked.append(arguments) or 0)
    return asked


def test_the_command_of_dev_is_this_one():
    _, arguments = runpy.run_path(str(ROOT / "dev"))["COMMANDS"]["chaos"]
    command = [sys.executable, *arguments, "--help"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "usage: ./dev chaos" in ended.stdout


def test_without_minutes_every_fault_test_is_run_whatever_its_markers(tests_run):
    assert command_line.main(["-k", "redis", "-n0"]) == 0
    assert tests_run == [[str(ROOT / "tests" / "chaos"), "-m", "", "-k", "redis", "-n0"]]


def test_tests_that_are_named_are_the_only_ones(tests_run):
    command_line.main([f"{__file__}::test_nothing"])
    assert tests_run == [["-m", "", f"{__file__}::test_nothing"]]


def test_with_minutes_a_soak_is_run_from_the_seed(soaks, tests_run, capsys):
    assert command_line.main(["--minutes", "1.5", "--seed", "42"]) == 0
    ((options),) = soaks
    assert (options["seed"], options["seconds"]) == (42, 90.0)
    assert "seed 42" in capsys.readouterr().out
    assert tests_run == []


def test_a_seed_that_was_not_given_is_drawn_and_told(soaks, capsys):
    command_line.main(["--minutes", "1"])
    assert f"seed {soaks[0]['seed']}, journal" in capsys.readouterr().out


def test_a_soak_that_fails_tells_why_and_ends_with_1(monkeypatch, capsys):
    def fail(**_):
        raise SoakFailedError("I4 one/3: 2 versions\nseed: 42")

    monkeypatch.setattr(soak, "run", fail)
    assert command_line.main(["--minutes", "1", "--seed", "42"]) == 1
    assert "I4 one/3: 2 versions\nseed: 42" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--minutes", "many"], "'many' is not a number of minutes"),
        (["--minutes", "0"], "above 0"),
        (["--minutes", "nan"], "'nan' is not a number of minutes"),
        (["--minutes", "inf"], "'inf' is not a number of minutes"),
        (["--minutes"], "expected one argument"),
        (["--minutes", "1", "--seed", "-3"], "'-3' is not a whole number"),
        (["--minutes", "1", "--seed", "4294967296"], "is not a whole number from 0 to 4294967295"),
        (["--seed", "3"], "say how long with --minutes N"),
        (["--minutes", "1", "-k", "redis"], "a soak takes --minutes and --seed only, not -k redis"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, said, soaks, tests_run, capsys):
    with pytest.raises(SystemExit) as ended:
        command_line.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert (soaks, tests_run) == ([], [])
