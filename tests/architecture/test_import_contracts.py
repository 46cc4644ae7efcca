"""The import contracts of pyproject.toml: each is kept by the code, and each refuses what it is there to refuse."""

import subprocess
import sys

import pytest
from repository import ROOT


def lint_imports(directory):
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_contract_of_the_architecture_is_kept():
    linted = lint_imports(ROOT)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert " 0 broken" in linted.stdout


@pytest.fixture
def empty_tree(tmp_path):
    """The contracts as written, over the repository's packages with nothing in them."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for package in ROOT.glob("*/__init__.py"):
        for module in package.parent.rglob("*.py"):
            copy = tmp_path / module.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text("")
    return tmp_path


def add_import(tree, importer, imported):
    """Make one module import another; where one of ours is not there yet, it is made."""
    for name in (importer, imported):
        if (tree / name.partition(".")[0]).is_dir():
            add_module(tree, name)
    module_file(tree, importer).write_text(f"import {imported}\n")


def add_module(tree, name):
    file = module_file(tree, name)
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.touch()


def module_file(tree, name):
    path = tree.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_a_tree_without_imports_keeps_every_contract(empty_tree):
    linted = lint_imports(empty_tree)
    assert linted.returncode == 0, linted.stdout + linted.stderr


CLIENT = "server and client never meet"
SERVER = "the server's layers"
APPS = "the apps, one above the other"
IN_APP = "in an app, one layer above the other"
TASKS = "work is started by its name: nobody imports tasks"
PURE = "pure packages do no input or output and keep no time"


@pytest.mark.parametrize(
    ("importer", "imported", "broken"),
    [
        ("boltz_client.intruder", "boltz_core.rounds", CLIENT),
        ("boltz_protocol.codec", "boltz_client.home", "the client's layers"),
        ("boltz_core.intruder", "demo.report", "the server does not know the client"),
        ("boltz_core.intruder", "worker.queues", SERVER),
        ("boltz_core.intruder", "socket", PURE),
        ("apps.clients.services", "apps.rounds.models", APPS),
        ("apps.wire.openapi", "apps.dispatch", APPS),
        ("apps.rounds.selectors", "apps.rounds.services", IN_APP),
        ("apps.rounds.models", "apps.rounds.selectors", IN_APP),
        ("apps.clients.services.tokens", "apps.clients.admin.tokens", IN_APP),
        ("apps.keys.apis", "apps.keys.urls", IN_APP),
        ("apps.rounds.admin.rounds", "apps.rounds.apis.models", IN_APP),
        ("apps.rounds.management.commands.rotate_keys", "apps.rounds.admin.rounds", IN_APP),
        ("apps.operator_pages.services", "apps.operator_pages.admin", IN_APP),
        ("apps.aggregation.services.runs", "apps.rounds.tasks", TASKS),
        ("apps.dispatch", "apps.rounds.tasks", TASKS),
        ("boltz_federated.health", "apps.aggregation.tasks", TASKS),
        ("worker.schedule", "apps.aggregation.tasks", TASKS),
    ],
)
def test_an_import_against_the_layers_breaks_a_contract(empty_tree, importer, imported, broken):
    add_import(empty_tree, importer, imported)
    linted = lint_imports(empty_tree)
    assert linted.returncode == 1, linted.stdout + linted.stderr
    assert f"{broken} BROKEN" in linted.stdout
    assert f"{importer} -> {imported}" in linted.stdout


def test_a_layer_is_not_reached_around_a_corner(empty_tree):
    add_import(empty_tree, "apps.rounds.models", "apps.rounds.stores")
    add_import(empty_tree, "apps.rounds.stores", "apps.rounds.services")
    linted = lint_imports(empty_tree)
    assert linted.returncode == 1, linted.stdout + linted.stderr
    assert "apps.rounds.models is not allowed to import apps.rounds.services" in linted.stdout


def test_an_app_without_a_place_among_the_others_breaks_a_contract(empty_tree):
    add_module(empty_tree, "apps.newcomer.models")
    linted = lint_imports(empty_tree)
    assert linted.returncode == 1, linted.stdout + linted.stderr
    assert "- apps.newcomer\n" in linted.stdout


def test_the_worker_loads_before_the_apps():
    """Celery imports it before Django has its registry; what an app has is imported when it is needed."""
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, worker.celery; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "worker.celery" in loaded
    assert [name for name in loaded if name.partition(".")[0] == "apps"] == []
