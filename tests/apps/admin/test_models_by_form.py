"""Models made and changed by forms: through the services, with every refusal shown at its field."""

import json

import numpy as np
import pytest
import safetensors.numpy
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.audit import services as audit
from apps.audit.models import LogEntry
from apps.rounds.admin import model_forms, policy_fields
from apps.rounds.models import FederatedModel, ModelVersion, Round
from boltz_federated import starter_models
from boltz_protocol.messages import RoundPolicy
from tests.apps.admin.pages import add_page, decision_page, errors_of, row_page, text_of

STARTER = starter_models.read("boltz-core")
WANTED = {
    "name": "vol-2",
    "task": json.dumps(STARTER["task"]),
    "keeps_open": "on",
    "pause_seconds": 60,
    **STARTER["policy"],
    "optimizer": "none",
}


def make(browser, **changes):
    return browser.post(add_page(FederatedModel), WANTED | changes)


def test_a_model_is_made_with_its_version_0(browser, operator, mesh):
    response = make(browser)
    model = FederatedModel.objects.get()
    assert response.url == row_page(model)
    assert (model.name, model.mode, model.keeps_open, model.pause_seconds) == ("vol-2", "robust", True, 60)
    assert model.round_policy() == RoundPolicy(**STARTER["policy"])
    assert ModelVersion.objects.get().number == 0
    entry = LogEntry.objects.get(type="model.created")
    assert entry.actor == audit.actor_of(operator)


def test_the_form_starts_from_a_model_that_comes_with_the_mesh(browser, mesh):
    form = browser.get(add_page(FederatedModel), {"starter": "boltz-core"}).context["form"]
    assert form.initial["name"] == "boltz-core"
    assert json.loads(form.initial["task"]) == STARTER["task"]
    assert form.initial["max_norm"] == STARTER["policy"]["max_norm"]


@pytest.mark.parametrize("starter", ["linear", "mlp", "unheard-of"])
def test_a_task_to_start_from_is_a_task(browser, mesh, starter):
    form = browser.get(add_page(FederatedModel), {"starter": starter}).context["form"]
    fields = {**form.initial, "name": "from-template", "pause_seconds": 0}
    assert make(browser, **fields).status_code == 302
    assert FederatedModel.objects.get().task["kind"] == ("mlp" if starter == "mlp" else "linear")


@pytest.mark.parametrize("mode", ["private", "masked"])
def test_modes_that_do_not_exist_yet_are_refused_by_name(browser, mesh, mode):
    assert errors_of(make(browser, mode=mode)) == {"mode": [f"mode '{mode}' is not available yet; available: robust"]}
    assert not FederatedModel.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": "Not A Name"}, "name", "lower-case letters"),
        ({"task": "{"}, "task", "This is not a task"),
        ({"task": "[" * 100_000}, "task", "This is not a task"),
        ({"task": json.dumps(STARTER["task"] | {"features": ["a"]})}, "task", "centers and scales"),
        ({"task": json.dumps(STARTER["task"] | {"kind": "oracle"})}, "task", "Invalid enum value"),
        ({"task": json.dumps(STARTER["task"] | {"metric": "luck"})}, "task", "none of mse"),
        ({"quorum": 200}, "quorum", "above the target"),
        ({"max_norm": "0"}, "max_norm", "it must be from"),
        ({"max_norm": "nan"}, "max_norm", "Enter a number"),
        ({"round_seconds": 0}, "round_seconds", "it must be from"),
        ({"example_cap": ""}, "example_cap", "required"),
        ({"rule": "no_such"}, "rule", "not one of the available"),
        ({"rule": "krum", "byzantine": 1, "quorum": 4}, "__all__", "needs n >= 2f + 3, at least 5; there are 4"),
        ({"before": "nnm, no_such"}, "rule", "nothing named 'no_such' can stand before a rule"),
        ({"byzantine": -1}, "byzantine", "greater than or equal"),
        ({"parameters": "radius"}, "parameters", "name = number"),
        ({"parameters": "radius = "}, "parameters", "name = number"),
        ({"parameters": " = 3"}, "parameters", "name = number"),
        ({"parameters": "radius = 1"}, "__all__", "no parameter 'radius'"),
        ({"optimizer": "adam", "optimizer_parameters": "tau = -1"}, "__all__", "tau is -1"),
        ({"pause_seconds": -1}, "pause_seconds", "greater than or equal"),
        ({"task": json.dumps({**STARTER["task"], "kind": "custom"})}, "task", "first weights"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_made(browser, mesh, changes, field, words):
    errors = errors_of(make(browser, **changes))
    assert list(errors) == [field]
    assert words in errors[field][0]
    assert not FederatedModel.objects.exists()


def test_a_name_that_is_taken_is_refused(browser, mesh):
    make(browser)
    assert errors_of(make(browser)) == {"name": ["a model named vol-2 exists already"]}


def custom(weights):
    return {
        "task": json.dumps({**STARTER["task"], "kind": "custom", "features": [], "center": [], "scale": []}),
        "weights": SimpleUploadedFile("w.safetensors", weights),
    }


def test_a_custom_model_brings_its_first_weights(browser, mesh):
    weights = {"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float32)}
    assert make(browser, **custom(safetensors.numpy.save(weights))).status_code == 302
    assert FederatedModel.objects.get().parameters == 10


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_weights_that_are_no_safetensors_are_refused(browser, mesh, content):
    assert list(errors_of(make(browser, **custom(content)))) == ["weights"]


def test_weights_that_are_too_large_are_refused_before_they_are_read(browser, mesh, monkeypatch):
    monkeypatch.setattr(model_forms, "MAX_WEIGHTS_BYTES", 8)
    errors = errors_of(make(browser, **custom(b"123456789")))
    assert "larger than" in errors["weights"][0]


def test_the_policy_is_changed_for_the_next_round_only(browser, operator, mesh):
    model = mesh.make_model(target=3)
    page = browser.get(decision_page(model, "policy"))
    assert page.context["form"].initial["target"] == 3

    changed = policy_fields.initial_of(model.round_policy()) | {"target": 50, "max_norm": 0.25}
    assert browser.post(decision_page(model, "policy"), changed).status_code == 302

    model.refresh_from_db()
    assert (model.round_policy().target, model.round_policy().max_norm) == (50, 0.25)
    assert Round.objects.get().round_policy().target == 3
    entry = LogEntry.objects.get(type="policy.changed")
    assert entry.actor == audit.actor_of(operator)
    assert audit.read_detail(entry)["policy"]["target"] == 50


def test_a_model_cannot_change_its_mode(browser, mesh):
    model = mesh.make_model()
    changed = policy_fields.initial_of(model.round_policy()) | {"mode": "masked"}
    assert "masked" in errors_of(browser.post(decision_page(model, "policy"), changed))["mode"][0]
    assert not LogEntry.objects.filter(type="policy.changed").exists()


def test_the_schedule_is_changed(browser, operator, mesh):
    model = mesh.make_model()
    assert browser.post(decision_page(model, "schedule"), {"keeps_open": "on", "pause_seconds": 900}).status_code == 302
    model.refresh_from_db()
    assert (model.keeps_open, model.pause_seconds) == (True, 900)
    assert "by itself, 15 min after the last" in text_of(browser.get(row_page(model)))
    entry = LogEntry.objects.get(type="schedule.changed")
    assert entry.actor == audit.actor_of(operator)
    assert audit.read_detail(entry) == {"model": "boltz-core", "keeps_open": True, "pause_seconds": 900}
    browser.post(decision_page(model, "schedule"), {"pause_seconds": 0})
    model.refresh_from_db()
    assert model.keeps_open is False


def test_a_round_is_opened_now_and_not_twice(browser, operator, mesh):
    model = mesh.make_model(opened=False)
    assert "Open a round now" in text_of(browser.get(row_page(model)))
    assert browser.post(decision_page(model, "open")).status_code == 302
    assert Round.objects.get().state == "open"
    assert LogEntry.objects.get(type="round.scheduled").actor == audit.actor_of(operator)
    assert "Open a round now" not in text_of(browser.get(row_page(model)))
    refused = browser.post(decision_page(model, "open"))
    assert "has a round that has not ended" in errors_of(refused)["__all__"][0]
    assert Round.objects.count() == 1


def test_each_field_of_the_policy_is_explained_with_its_unit(browser, mesh):
    response = browser.get(add_page(FederatedModel))
    text = text_of(response)
    for field in policy_fields.FIELDS:
        # lists are markup; whatever they say stands on the page
        assert field.consequence in (response.content.decode() if "<ul" in field.consequence else text)
        assert field.unit in text
    assert {field.name for field in policy_fields.FIELDS} == set(RoundPolicy.__struct_fields__)
    grouped = {name for _, _, names in model_forms.PolicyForm.groups for name in names}
    assert grouped == set(RoundPolicy.__struct_fields__)


def test_above_a_long_form_stands_which_fields_were_refused(browser, mesh):
    page = make(browser, quorum=200).content.decode()
    assert '<a class="text-link" href="#id_quorum">Quorum (staged updates)</a>' in page


def test_a_rule_with_what_stands_before_it_is_chosen_and_shown(browser, operator, mesh):
    model = mesh.make_model(target=20)
    changed = policy_fields.initial_of(model.round_policy()) | {
        "rule": "trimmed_mean",
        "before": "norm_clip, nnm",
        "byzantine": 2,
        "parameters": "clip_norm = 0.5",
        "optimizer": "yogi",
        "optimizer_parameters": "tau = 0.01",
        "quorum": 7,
    }
    assert browser.post(decision_page(model, "policy"), changed).status_code == 302
    model.refresh_from_db()
    policy = model.round_policy()
    assert (policy.rule, policy.before, policy.byzantine) == ("trimmed_mean", ("norm_clip", "nnm"), 2)
    assert (policy.parameters, policy.optimizer) == ({"clip_norm": 0.5}, "yogi")
    assert policy.optimizer_parameters == {"tau": 0.01}
    shown = browser.get(decision_page(model, "policy")).context["form"].initial
    assert {name: shown[name] for name in changed} == changed
    text = text_of(browser.get(row_page(model)))
    assert "norm clip, nnm" in text or "norm_clip, nnm" in text
    assert "clip_norm = 0.5" in text
