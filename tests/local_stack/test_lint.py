import pytest

from local_stack import lint
from local_stack.mesh import ROOT


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A small tree under the repository's own rules."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "module.py").write_text('"""A module."""\n\nANSWER = 42\n')
    monkeypatch.setattr(lint, "ROOT", tmp_path)
    return tmp_path


CHECKED = ["format", "style", "spelling"]


def test_clean_code_passes(tree):
    assert lint.main(CHECKED) == 0


@pytest.mark.parametrize(
    ("step", "source"),
    [
        ("format", '"""A module."""\n\nANSWER  =  42\n'),
        ("style", '"""A module."""\n\nimport os\n'),
        # in two parts, so that this file passes
        ("spelling", '"""A module, te' + 'h second."""\n'),
    ],
)
def test_each_step_finds_what_it_is_for(tree, capfd, step, source):
    (tree / "module.py").write_text(source)
    assert lint.main(CHECKED) == 1
    assert f"failed: {step}\n" in capfd.readouterr().err


def test_all_steps_run_and_all_that_failed_are_named(monkeypatch, capfd):
    monkeypatch.setattr(
        lint,
        "STEPS",
        {"one": ("-c", "raise SystemExit(1)"), "two": ("-c", "print('ran')"), "three": ("-c", "raise SystemExit(2)")},
    )
    assert lint.main([]) == 1
    captured = capfd.readouterr()
    assert captured.out == "ran\n"
    assert "failed: one, three" in captured.err


def test_a_repair_formats_and_sorts(tree):
    (tree / "module.py").write_text('"""A module."""\nimport sys\nimport os\nprint(  os, sys )\n')
    lint.main(["--fix"])
    assert (tree / "module.py").read_text() == '"""A module."""\n\nimport os\nimport sys\n\nprint(os, sys)\n'


def test_a_step_that_is_not_there_is_said_with_those_that_are(capsys):
    assert lint.main(["smell"]) == 2
    assert "no step 'smell'; there are format, style, types, layers, spelling" in capsys.readouterr().err


def test_types_are_strict_where_both_ends_and_decisions_live():
    assert lint.STEPS["types"][-6:] == ("-p", "boltz_protocol", "-p", "boltz_core", "-p", "boltz_client")
