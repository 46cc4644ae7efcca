"""The limits on coverage, over a small tree with one module in each package and made-up measurements."""

import pytest
from coverage import CoverageData

from local_stack import coverage_limits
from local_stack.coverage_limits import LIMITS, Measured
from local_stack.mesh import ROOT

LINES = 20
ENOUGH = {95: 19, 85: 17}  # of 20


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Packages under the repository's own settings; nothing of a measurement that this test itself is part of."""
    for name in ("COVERAGE_FILE", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for package in LIMITS:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "module.py").write_text("".join(f"a{n} = {n}\n" for n in range(1, LINES + 1)))
    return tmp_path


@pytest.fixture
def judge(tree):
    """Judge measurements: lines run for each package's module, as many as are enough where nothing else is said."""

    def judged(**lines_run):
        data = CoverageData(basename=str(tree / "measured"))
        for package, limit in LIMITS.items():
            last = lines_run.get(package, ENOUGH[limit])
            data.add_arcs({str(tree / package / "module.py"): [(-1, 1), *((n, n + 1) for n in range(1, last))]})
        data.write()
        return coverage_limits.main(["--data", str(tree / "measured")], root=tree)

    return judged


def test_packages_at_their_limits_pass(judge, capsys):
    assert judge() == 0
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines()] == list(LIMITS)
    assert "boltz_core          19 of    20    95.0 %   at least 95 %   ok\n" in captured.out
    assert "apps                17 of    20    85.0 %   at least 85 %   ok\n" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize("package", LIMITS)
def test_a_package_below_its_limit_fails_by_name(judge, package, capsys):
    assert judge(**{package: ENOUGH[LIMITS[package]] - 1}) == 1
    captured = capsys.readouterr()
    assert captured.err == f"too little coverage: {package}\n"
    assert captured.out.count("TOO LITTLE") == 1


def test_pure_packages_have_the_higher_limit():
    assert {package for package, limit in LIMITS.items() if limit == 95} == {"boltz_protocol", "boltz_core"}
    assert set(LIMITS.values()) == {95, 85}


def test_every_package_that_is_measured_has_a_limit(tree):
    settings = coverage_limits.coverage.Coverage(config_file=str(tree / "pyproject.toml"))
    assert set(settings.get_option("run:source")) == set(LIMITS)


def test_a_module_that_was_never_imported_counts(judge, tree, capsys):
    (tree / "worker" / "forgotten.py").write_text("a = 1\n" * LINES)
    assert judge(worker=LINES) == 1
    assert "worker              20 of    40    50.0 %" in capsys.readouterr().out


def test_migrations_do_not_count(judge, tree):
    (tree / "apps" / "clients" / "migrations").mkdir(parents=True)
    (tree / "apps" / "clients" / "migrations" / "0001_initial.py").write_text("a = 1\n" * LINES)
    assert judge() == 0


def test_a_branch_that_was_not_taken_counts(tree, capsys):
    (tree / "demo" / "module.py").write_text("a = 1\nif a:\n    a = 2\n")
    data = CoverageData(basename=str(tree / "measured"))
    data.add_arcs({str(tree / "demo" / "module.py"): [(-1, 1), (1, 2), (2, 3), (3, -1)]})
    data.write()
    assert coverage_limits.main(["--data", str(tree / "measured")], root=tree) == 1
    assert "demo                 4 of     5    80.0 %   at least 85 %   TOO LITTLE" in capsys.readouterr().out


def test_no_rounding_lifts_a_package_over_its_limit():
    short = Measured("apps", 85, covered=84_999, total=100_000)
    assert not short.is_enough
    assert "84.9 %" in str(short)


def test_data_without_branches_is_refused(tree, capsys):
    data = CoverageData(basename=str(tree / "measured"))
    data.add_lines({str(tree / "apps" / "module.py"): range(1, LINES + 1)})
    data.write()
    assert coverage_limits.main(["--data", str(tree / "measured")], root=tree) == 2
    assert "measured cannot be judged: it holds no branches; measure with --cov-branch" in capsys.readouterr().err


def test_data_that_is_not_there_is_said(tree, capsys):
    assert coverage_limits.main(["--data", str(tree / "measured")], root=tree) == 2
    assert "measured cannot be judged: there is no such file" in capsys.readouterr().err


def test_data_that_is_none_is_said(tree, capsys):
    (tree / "measured").write_bytes(b"no database" * 100)
    assert coverage_limits.main(["--data", str(tree / "measured")], root=tree) == 2
    assert "measured cannot be judged" in capsys.readouterr().err


def write_suite(tree, *, expected):
    """A suite that imports each package's module."""
    settings = (ROOT / "pyproject.toml").read_text()
    start, end = settings.index("[tool.coverage.run]"), settings.index("[tool.mypy]")
    # of the server's tests nothing is needed here
    options = '[tool.pytest.ini_options]\naddopts = ["-p", "no:django"]\npythonpath = ["."]\n'
    (tree / "pyproject.toml").write_text(settings[start:end] + options)
    imports = "".join(f"import {package}.module\n" for package in LIMITS)
    (tree / "test_all.py").write_text(f"{imports}def test_all():\n    assert apps.module.a1 == {expected}\n")


def test_without_data_the_tests_run_and_are_judged(tree, capsys):
    write_suite(tree, expected=1)
    assert coverage_limits.main([], root=tree) == 0
    assert capsys.readouterr().out.count("   ok\n") == len(LIMITS)
    (tree / "client" / "module.py").write_text("a = 1\ndef never_called():\n" + "    b = 1\n" * LINES)
    assert coverage_limits.main([], root=tree) == 1
    assert capsys.readouterr().err == "too little coverage: client\n"


def test_when_tests_fail_nothing_is_judged(tree, capsys):
    write_suite(tree, expected=2)
    assert coverage_limits.main([], root=tree) == 1
    captured = capsys.readouterr()
    assert "Tests failed, so their coverage says nothing." in captured.err
    assert captured.out == ""
