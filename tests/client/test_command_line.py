"""boltz-client: answers, errors and exit codes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from msgspec import structs

from boltz_client import FederatedClient, cli
from tests.client.mesh_simulation import URL


@pytest.fixture
def run(mesh, tmp_path, monkeypatch, capsys):
    """Run a command against the simulated mesh: (exit code, standard output, standard error)."""
    monkeypatch.setattr(
        cli,
        "FederatedClient",
        lambda name, url, **options: FederatedClient(
            name, url, transport=mesh.transport(), clock=mesh.clock.for_client(), **options
        ),
    )

    def command(*arguments: str) -> tuple[int, str, str]:
        place = ["--url", URL, "--name", "alice", "--home", str(tmp_path / "home")]
        code = cli.main([arguments[0], *place, *arguments[1:]])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return command


@pytest.fixture
def file(tmp_path, data):
    path = tmp_path / "data.npz"
    X = data["X"].copy()
    X[:2] = np.nan
    np.savez(path, X=X, y=data["y"])
    return str(path)


def test_each_command_answers_in_words(mesh, run, file):
    code, out, err = run("register", "--region", "eu", "--kind", "edge_node")
    assert (code, err) == (0, "")
    assert out.startswith("alice  edge_node  eu  active  trust 0.05 (new, 0 rounds)  id c_0\nhome: ")
    assert "boltz-core  linear  version 0  round 1  next_day from spread, volume, momentum" in run("models")[1]
    code, out, err = run("join", "boltz-core", "--data", file)
    assert code == 0, err
    assert "boltz-core round 1: received\ntrained on 198 examples, 1.0% of the rows dropped; norm sent" in out
    assert "(sent earlier)" in run("join", "boltz-core", "--data", file)[1]
    mesh.publish(1)
    assert "aggregated into version 1" in run("join", "boltz-core", "--data", file, "--round", "1", "--wait", "1")[1]
    assert run("status", "boltz-core")[1] == "boltz-core round 1 (published)  aggregated  in version 1  weight 1.000\n"
    assert run("status")[1].startswith("alice")
    assert run("rotate-key")[1] == f"new key {mesh.clients['c_0'].record.kid}\n"
    assert run("leave", "--yes")[1].startswith("alice has left")
    assert mesh.clients == {}


def test_answers_in_json_are_the_messages_themselves(mesh, run, file):
    assert json.loads(run("register", "--region", "eu", "--json")[1])["id"] == "c_0"
    answer = json.loads(run("join", "boltz-core", "--data", file, "--json", "--wait", "0.1")[1])
    assert answer["receipt"]["body_sha256"] == mesh.the_update().body_sha256
    assert answer["status"]["state"] == "staged"
    assert json.loads(run("models", "--json")[1])["models"][0]["name"] == "boltz-core"
    assert json.loads(run("status", "boltz-core", "--json")[1])["state"] == "staged"


def test_a_rejection_is_told_with_its_code(mesh, run, file):
    run("register", "--region", "eu")
    run("join", "boltz-core", "--data", file)
    update = mesh.the_update()
    update.state, update.code, update.reason = "rejected", "not_finite", "a value is not finite"
    assert "rejected  a value is not finite [not_finite]" in run("status", "boltz-core")[1]


def test_a_model_without_a_round_or_features_is_shown_as_such(mesh, run):
    run("register", "--region", "eu")
    mesh.rounds.clear()
    assert "no round" in run("models")[1]
    view = mesh.model_view()
    own = structs.replace(view, task=structs.replace(view.task, kind="custom", features=()))
    assert "its own features" in cli.model_line(own)


def test_exit_codes_tell_what_to_do(mesh, run, file, data):
    assert run("models")[0] == 2, "not registered: something here has to change"
    run("register", "--region", "eu")
    code, out, err = run("join", "other", "--data", file)
    assert (code, out) == (1, ""), "the mesh refused"
    assert err.startswith("boltz-client: ")
    mesh.rounds[1].state = "sealed"
    assert run("join", "boltz-core", "--data", file)[0] == 3, "later"
    mesh.lose_request("models$", times=5)
    assert run("models")[0] == 4, "unreachable"
    mesh.tamper("versions", lambda _body: b"{}")
    mesh.open_round()
    assert run("join", "boltz-core", "--data", file)[0] == 5, "not to be trusted"


def test_secrets_come_from_variables(mesh, run, monkeypatch):
    monkeypatch.setenv("PASS", "correct horse")
    monkeypatch.setenv("TOKEN", "enrol-me")
    code, _, _ = run("register", "--region", "eu", "--passphrase-env", "PASS", "--token-env", "TOKEN")
    assert code == 0
    assert mesh.clients["c_0"].record.organisation == "by enrol-me"
    assert run("status", "--passphrase-env", "PASS")[0] == 0
    code, _, err = run("status")
    assert code == 2
    assert "encrypted" in err
    code, _, err = run("status", "--passphrase-env", "NOT_SET_ANYWHERE")
    assert code == 2
    assert "NOT_SET_ANYWHERE is empty or not set" in err


def test_pinned_keys_are_held_to(mesh, run):
    assert run("register", "--region", "eu", f"--pin=-{'A' * 42}")[0] == 5, "a key id may begin with a dash"
    assert run("register", "--region", "eu", f"--pin={mesh.signing_keys[0].kid}")[0] == 0


def test_url_and_name_are_needed(monkeypatch, capsys):
    monkeypatch.delenv(cli.URL_VARIABLE, raising=False)
    monkeypatch.delenv(cli.NAME_VARIABLE, raising=False)
    assert cli.main(["models"]) == 2
    assert "--url and --name are needed" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["leave"], ["register", "--kind", "bank", "--region", "eu"], ["unknown"]])
def test_a_wrong_command_line_is_explained(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: boltz-client" in capsys.readouterr().err


def test_help_names_the_exit_codes():
    run = subprocess.run(
        [sys.executable, "-m", "boltz_client", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "4 the mesh could not be reached" in " ".join(run.stdout.split())
