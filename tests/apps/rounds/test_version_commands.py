"""promote_version, roll_back and set_gate, as an operator types them."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.audit import selectors as log
from apps.audit import services as audit
from tests.apps.mesh import MODEL
from tests.apps.rounds.trained import BAD
from tests.apps.unchanged import nothing_changes

pytestmark = pytest.mark.django_db(transaction=True)


def run(command, *arguments):
    out = StringIO()
    call_command(command, "--model", MODEL, *arguments, stdout=out)
    return out.getvalue()


def test_a_candidate_is_promoted_from_the_shell(gated):
    gated.train(BAD)
    said = run("promote_version", "--version", "1", "--reason", "we know better")
    assert said == "boltz-core v1 is the current version\n"
    assert gated.states() == ["superseded", "current"]
    entry = log.entries_of_type("version.promoted").get()
    assert (entry.actor, audit.read_detail(entry)["reason"]) == ("command-line", "we know better")


def test_a_model_is_rolled_back_from_the_shell(trained):
    trained.train()
    said = run("roll_back", "--version", "0", "--reason", "the forecasts are off")
    assert said == "boltz-core v0 is the current version\n"
    assert trained.states() == ["current", "rolled_back"]
    assert log.entries_of_type("version.rolled_back").get().actor == "command-line"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--version", "7", "--reason", "x"), "unknown_version: boltz-core has no version 7"),
        (("--version", "0", "--reason", "x"), "wrong_state: boltz-core v0 is current"),
        (("--version", "0", "--reason", " "), "a reason has 1 to 200 characters"),
        (("--version", "0", "--reason", "x" * 201), "a reason has 1 to 200 characters"),
        (("--version", "0"), "the following arguments are required: --reason"),
    ],
)
@pytest.mark.parametrize("command", ["promote_version", "roll_back"])
def test_what_cannot_be_done_is_said_and_changes_nothing(trained, command, arguments, why):
    with nothing_changes(), pytest.raises(CommandError, match=why):
        run(command, *arguments)


def test_a_gate_is_set_and_removed_from_the_shell(trained, holdout):
    said = run(
        "set_gate", "--hold-out", str(holdout), "--metric", "r2", "--margin", "0.05", "--reason", "we look first"
    )
    gate = trained.model.version_gate()
    assert (gate.metric, gate.margin, gate.rows) == ("r2", 0.05, 300)
    first, second = said.splitlines()
    assert first == "boltz-core: r2 on 300 rows may be worse by 0.05"
    assert second.startswith("the current version has r2 -0.0")
    assert second.endswith(gate.holdout_sha256)
    assert "every version passes" in run("set_gate", "--remove", "--reason", "too strict")
    assert trained.model.version_gate() is None


def test_a_bad_hold_out_is_refused_from_the_shell(trained, tmp_path):
    with nothing_changes(), pytest.raises(CommandError, match=r"invalid_gate: none\.csv cannot be read"):
        run("set_gate", "--hold-out", str(tmp_path / "none.csv"), "--reason", "we look first")
