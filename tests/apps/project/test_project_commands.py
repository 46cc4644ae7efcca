"""What an operator types: create_model and first_start."""

import json
import os
import re
from io import StringIO

import numpy as np
import pytest
import safetensors.numpy
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from apps.audit import selectors as log
from apps.audit.models import LogDetail
from apps.keys.models import MeshKey
from apps.rounds.models import FederatedModel, ModelVersion, Round
from boltz_federated import starter_models
from boltz_federated.configuration import LOGGED
from tests.apps.unchanged import nothing_changes


def run(command, *arguments, **options):
    out = StringIO()
    call_command(command, *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def described(tmp_path):
    """A model's description in a file, with changes."""

    def write(**changes):
        path = tmp_path / "model.json"
        path.write_text(json.dumps(starter_models.read("boltz-core") | changes))
        return path

    return write


# --- create_model -----------------------------------------------------------------------------------------------------------


def test_a_starter_model_is_made_with_round_1_open(mesh):
    said = run("create_model", starter="boltz-core", open=True)
    assert said.splitlines()[0] == "boltz-core: 10 parameters, robust, version 0"
    assert said.splitlines()[1].startswith("boltz-core round 1 is open until ")
    assert (Round.objects.get().state, FederatedModel.objects.get().keeps_open) == ("open", False)
    assert log.entries_of_type("model.created").get().actor == "command-line"


def test_a_model_is_made_from_a_file_under_another_name(mesh, described):
    run("create_model", file=described(), name="other", keep_open=True)
    model = FederatedModel.objects.get()
    assert (model.name, model.keeps_open, Round.objects.count()) == ("other", True, 0)


def test_numbers_of_the_policy_are_given_on_the_command_line(mesh):
    run(
        "create_model",
        "--starter",
        "boltz-core",
        "--quorum",
        "2",
        "--target",
        "5",
        "--round-seconds",
        "60",
        "--max-norm",
        "0.25",
    )
    policy = FederatedModel.objects.get().round_policy()
    assert (policy.quorum, policy.target, policy.round_seconds, policy.max_norm) == (2, 5, 60, 0.25)


def test_a_custom_model_begins_with_weights_from_a_file(mesh, described, tmp_path):
    task = starter_models.read("boltz-core")["task"] | {"kind": "custom", "features": [], "center": [], "scale": []}
    weights = tmp_path / "first.safetensors"
    safetensors.numpy.save_file({"w": np.ones(7, np.float32)}, weights)
    run("create_model", file=described(task=task), weights=weights)
    assert FederatedModel.objects.get().parameters == 7


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policy": {}}, "the model's description is not valid"),
        ({"task": None}, "the model's description is not valid"),
        ({"name": "Not A Name"}, "invalid_name"),
        ({"policy": starter_models.read("boltz-core")["policy"] | {"mode": "private"}}, "mode_not_available"),
    ],
)
def test_a_description_that_is_none_is_refused(mesh, described, changes, words):
    with nothing_changes(), pytest.raises(CommandError, match=words):
        run("create_model", file=described(**changes))


@pytest.mark.parametrize("content", ["{", None])
def test_a_file_that_can_not_be_read_is_said(mesh, tmp_path, content):
    path = tmp_path / "model.json"
    if content:
        path.write_text(content)
    with nothing_changes(), pytest.raises(CommandError, match="cannot be read"):
        run("create_model", file=path)


@pytest.mark.parametrize("content", [b"\x80\x04K\x01.", b"", None])
def test_weights_that_are_no_safetensors_are_refused(mesh, described, tmp_path, content):
    path = tmp_path / "weights"
    if content is not None:
        path.write_bytes(content)
    with nothing_changes(), pytest.raises(CommandError, match="not a readable safetensors file"):
        run("create_model", file=described(), weights=path)


def test_a_name_that_is_taken_is_said(mesh, model_made):
    with nothing_changes(), pytest.raises(CommandError, match="model_exists"):
        run("create_model", starter="boltz-core")


@pytest.fixture
def model_made(mesh):
    return mesh.make_model()


# --- first_start ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def new_mesh(mesh, monkeypatch):
    """A mesh that has not been started yet."""
    MeshKey.objects.all().delete()
    monkeypatch.delenv("BOLTZ_ADMIN_PASSWORD", raising=False)
    return mesh


def test_the_first_start_makes_keys_an_admin_and_a_model_with_round_1_open(new_mesh, monkeypatch):
    monkeypatch.setenv("BOLTZ_ADMIN_PASSWORD", "a long enough password")
    said = run("first_start")
    assert {key.use for key in MeshKey.objects.all()} == {"sig", "enc"}
    admin = get_user_model().objects.get()
    assert (admin.username, admin.is_superuser, admin.check_password("a long enough password")) == ("admin", True, True)
    assert (Round.objects.get().state, FederatedModel.objects.get().keeps_open) == ("open", True)
    assert "made the admin user: admin" in said
    assert "a long enough password" not in said
    assert log.entries_of_type("key.made").count() == 2


def test_a_second_start_changes_nothing(new_mesh, monkeypatch):
    monkeypatch.setenv("BOLTZ_ADMIN_PASSWORD", "a long enough password")
    run("first_start")
    monkeypatch.setenv("BOLTZ_ADMIN_PASSWORD", "another long password")
    with nothing_changes():
        assert run("first_start") == ""
    assert get_user_model().objects.get().check_password("a long enough password")


def configurations():
    """What was logged of the settings, the newest first."""
    return [log.read_detail(entry) for entry in log.entries_of_type("configuration.started")]


def test_what_a_mesh_is_started_with_is_logged(new_mesh, settings):
    settings.BOLTZ_TICK_SECONDS = 12.5
    run("first_start", no_model=True)
    [logged] = configurations()
    assert logged["BOLTZ_TICK_SECONDS"] == "12.5"
    assert (logged["BOLTZ_DEV_MODE"], logged["BOLTZ_ENROLMENT"]) == (True, "open")


def test_each_change_of_the_configuration_is_logged_once_there_and_back(new_mesh, settings):
    for enrolment in ("open", "open", "token", "token", "open"):
        settings.BOLTZ_ENROLMENT = enrolment
        run("first_start", no_model=True)
    assert [logged["BOLTZ_ENROLMENT"] for logged in configurations()] == ["open", "token", "open"]


def test_a_logged_configuration_that_was_damaged_does_not_keep_the_mesh_from_starting(new_mesh):
    run("first_start", no_model=True)
    entry = log.entries_of_type("configuration.started").get()
    LogDetail.objects.filter(entry=entry).update(content=bytes(40) + b"{}")
    run("first_start", no_model=True)
    assert log.entries_of_type("configuration.started").count() == 2


def test_no_secret_of_the_configuration_is_logged(new_mesh, settings):
    run("first_start", no_model=True)
    logged = json.dumps(configurations())
    names = ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "BOLTZ_KEY_ENCRYPTION_KEY", "BOLTZ_DATA_DIR")
    assert [name for name in names if os.environ[name] in logged or name in logged] == []
    assert settings.DATABASES["default"]["PASSWORD"] not in logged


def test_every_setting_that_is_logged_exists_and_is_none_that_is_hidden(settings):
    assert [name for name in LOGGED if not hasattr(settings, name)] == []
    assert [name for name in LOGGED if re.search("SECRET|PASS|ENCRYPTION_KEY$|URL|DIR", name)] == []


def test_there_is_no_default_password(new_mesh):
    run("first_start")
    assert not get_user_model().objects.exists()


def test_a_start_without_a_model_makes_none(new_mesh):
    run("first_start", no_model=True)
    assert not ModelVersion.objects.exists()
    assert MeshKey.objects.count() == 2
