import subprocess
import sys

from repository import ROOT


def lint_imports(directory, *arguments):
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_contract_of_the_architecture_is_kept():
    linted = lint_imports(ROOT, "--no-cache")
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert " 0 broken" in linted.stdout


def test_a_client_that_imports_the_server_breaks_a_contract(tmp_path):
    """The contracts as written, over a tree of empty packages with one forbidden import in it."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for package in ROOT.glob("*/__init__.py"):
        for module in package.parent.rglob("*.py"):
            copy = tmp_path / module.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text("")
    (tmp_path / "boltz_client" / "intruder.py").write_text("import boltz_core.rounds\n")
    linted = lint_imports(tmp_path, "--no-cache")
    assert linted.returncode == 1, linted.stdout + linted.stderr
    assert "boltz_client.intruder -> boltz_core.rounds" in linted.stdout
    assert " 1 broken" in linted.stdout
