"""docs/participants.md: its Python and its commands run, its tables equal the code."""

import ast
import csv
import functools
import inspect
import shlex

import numpy as np
import pytest
from django.utils import timezone

from apps.clients import services as clients
from boltz_client import cli, client_runtime, errors, home, retries, trainers
from boltz_client.clock import Clock
from boltz_client.local_policy import LocalPolicy
from boltz_client.round_result import RoundResult
from boltz_client.transport import MAX_ANSWER_BYTES, Transport
from boltz_client.versions import KEPT_VERSIONS
from boltz_federated import starter_models
from tests.docs import documents

TEXT = documents.read("docs/participants.md")
PRINTED = """\
active
active Example Bank
received
this round is outside your LocalPolicy
199 0.005
True
True
aggregated into version 1
1 (200,)
UnknownModelError unknown_model
True
"""


@pytest.fixture
def reached(mesh, monkeypatch, tmp_path):
    """Every client that is made reaches this mesh; when one waits, the workers have their turn."""

    def work_instead_of_sleeping(_seconds):
        mesh.work()
        mesh.finish_round()

    monkeypatch.setattr(
        client_runtime,
        "Transport",
        lambda url, *, clock, http: Transport(url, clock=clock, http=http or mesh.transport),
    )
    monkeypatch.setattr(client_runtime, "Clock", functools.partial(Clock, sleep=work_instead_of_sleeping))
    monkeypatch.setenv("BOLTZ_CLIENT_HOME", str(tmp_path / "clients"))
    mesh.make_model()
    return mesh


def test_the_python_blocks_run_in_order_and_print_what_they_should(reached, monkeypatch, capsys):
    token, _ = clients.make_token(organisation="Example Bank", actor="test", valid_for=timezone.timedelta(days=1))
    monkeypatch.setenv("MESH_TOKEN", token)
    monkeypatch.setenv("MESH_PASSPHRASE", "correct horse battery staple")
    namespace = {}
    for block in documents.code_blocks(TEXT, "python"):
        exec(compile(block, "docs/participants.md", "exec"), namespace)  # noqa: S102 - our own document
    printed = capsys.readouterr().out.splitlines()
    wanted = PRINTED.splitlines()
    assert [line.startswith(start) for line, start in zip(printed, wanted, strict=True)] == [True] * len(wanted), (
        printed
    )
    assert namespace["client"].home.parent.name == "localhost_8010"


def test_the_commands_run_in_order(reached, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_days(tmp_path / "days.csv")
    (block,) = [block for block in documents.code_blocks(TEXT, "bash") if "boltz-client register" in block]
    ran = []
    for line in block.splitlines():
        program, *words = shlex.split(line)
        if program == "export":
            for name, value in (word.split("=", 1) for word in words):
                monkeypatch.setenv(name, value)
            continue
        assert program == "boltz-client"
        code = cli.main(words)
        assert code == 0, (line, capsys.readouterr().err)
        ran.append(words[0])
    assert set(ran) == set(cli.COMMANDS)


def write_days(path):
    """A file as a participant has it: the model's features and its target, unscaled."""
    task = starter_models.read("boltz-core")["task"]
    random = np.random.default_rng(1)
    values = np.array(task["center"]) + np.array(task["scale"]) * random.normal(size=(40, len(task["features"])))
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*task["features"], task["target"]])
        rows.writerows([*row, 0.1 * row[0]] for row in values.tolist())


# --- tables -----------------------------------------------------------------------------------------------------------


def first_column(header):
    """The names in the first column of the tables that begin with this header."""
    cells = [cell for table in documents.tables_with(TEXT, header) for cell in table.column(header)]
    return [documents.plain(part.strip()) for cell in cells for part in cell.split(",")]


def error_classes():
    """Every error of the client with its branch: the class above it, or itself."""
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.FederatedClientError) and kind is not errors.FederatedClientError:
            yield name, kind


def test_every_error_stands_in_the_table_below_its_branch_and_no_other():
    (table,) = documents.tables_with(TEXT, "error")
    written = {documents.plain(name): documents.plain(branch) for name, branch, _ in table.rows}
    branches = {"LocalError", "LaterError"}
    assert set(written) == {name for name, _ in error_classes()} - branches
    for name, kind in error_classes():
        if name in written and written[name] != "itself":
            assert issubclass(kind, getattr(errors, written[name])), name


def test_the_exit_codes_are_those_of_the_command_line():
    (table,) = documents.tables_with(TEXT, "exit code")
    written = {int(code): meaning for code, meaning in table.rows}
    assert all(f"`{kind.__name__}`" in written[code] for kind, code in cli.EXIT_CODES)
    assert sorted(written) == [0, 1, *(code for _, code in cli.EXIT_CODES)]


def test_the_fields_of_a_local_policy_stand_with_their_defaults():
    (table,) = documents.tables_with(TEXT, "field")
    written = {documents.plain(name): ast.literal_eval(documents.plain(default)) for name, default, _ in table.rows}
    found = {name: field.default for name, field in LocalPolicy.__dataclass_fields__.items()}
    assert written == found


def test_the_fields_of_a_result_are_its_own():
    offered = {name for name in [*RoundResult.__dataclass_fields__, *vars(RoundResult)] if not name.startswith("_")}
    assert set(first_column("field of the result")) == offered - {"wait", "refreshed"}


def test_the_options_are_those_of_the_command_line():
    actions = {
        option
        for command in cli.parser()._subparsers._group_actions[0].choices.values()
        for action in command._actions
        for option in action.option_strings
    }
    names = [name.split("=")[0].split()[0] for name in first_column("option or variable")]
    assert {name for name in names if name.startswith("--")} <= actions
    variables = {name for name in names if not name.startswith("--")}
    assert variables == {cli.URL_VARIABLE, cli.NAME_VARIABLE, home.HOME_VARIABLE}


def test_the_trainers_are_there():
    (table,) = documents.tables_with(TEXT, "kind of model")
    assert "LinearTrainer" in table.rows[0][1]
    assert set(trainers.__all__) >= {"LinearTrainer", "SklearnTrainer", "TorchTrainer"}


@pytest.mark.parametrize(
    "sentence",
    [
        f"at most {MAX_ANSWER_BYTES >> 20} MiB",
        f"`Retry-After` of up to {retries.RetryPolicy().patience_seconds:.0f} seconds",
        {5: "five attempts"}[retries.RetryPolicy().attempts]
        + {8: ", eight for an upload"}[retries.FOR_UPLOADS.attempts],
        {3: "the last three versions"}[KEPT_VERSIONS],
    ],
)
def test_the_numbers_are_those_of_the_code(sentence):
    assert sentence in " ".join(TEXT.split())
