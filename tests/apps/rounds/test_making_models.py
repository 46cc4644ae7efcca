"""Models are made whole or not at all, and their policies are such as can be kept."""

import msgspec
import numpy as np
import pytest

from apps.audit import selectors as log
from apps.audit import services as audit
from apps.rounds import services, versions
from apps.rounds.models import FederatedModel, ModelVersion
from boltz_federated import starter_models
from boltz_protocol.errors import NotNowError, SenderError
from boltz_protocol.messages import RoundPolicy, TaskSpec
from tests.apps.unchanged import nothing_changes

CONTENT = starter_models.read("boltz-core")


def request(name="boltz-core", *, task=None, policy=None, **fields):
    return services.ModelRequest(
        name=name,
        task=msgspec.convert(CONTENT["task"] | (task or {}), TaskSpec),
        policy=msgspec.convert(CONTENT["policy"] | (policy or {}), RoundPolicy),
        **fields,
    )


CUSTOM = {"kind": "custom", "features": [], "center": [], "scale": []}


def code_of(wanted, kind=SenderError):
    with nothing_changes(), pytest.raises(kind) as refused:
        services.create_model(wanted, actor="test")
    return refused.value.code


def test_a_model_comes_with_version_0_and_two_entries_in_the_log(mesh):
    model = services.create_model(request(), actor="operator_x")
    version = ModelVersion.objects.get()
    assert (version.model, version.number, version.state, version.base) == (model, 0, "current", None)
    assert version.read_manifest().weights_sha256 == version.weights_sha256
    assert [entry.actor for entry in log.entries_of_type("model.created")] == ["operator_x"]
    assert audit.read_detail(log.entries_of_type("version.published").get())["version"] == 0


def test_a_model_of_a_custom_task_begins_with_the_weights_it_is_given(mesh):
    first = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(4, np.float32)}
    model = services.create_model(request(task=CUSTOM, weights=first), actor="test")
    layout = model.tensor_layout()
    reader = versions.WeightsReader(ModelVersion.objects.get(), layout)
    assert reader.read(0, 10).tolist() == [1, 1, 1, 1, 0, 1, 2, 3, 4, 5]
    reader.close()
    assert (model.parameters, [spec.name for spec in layout.specs]) == (10, ["a", "b"])


def test_a_network_begins_with_weights_that_follow_from_its_seed(mesh):
    task = {"kind": "mlp", "hidden": [4]}
    for name in ("one", "two"):
        services.create_model(request(name, task=task, seed=b"same"), actor="test")
    services.create_model(request("three", task=task), actor="test")
    digests = [version.weights_sha256 for version in ModelVersion.objects.order_by("pk")]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("name", ["", "Boltz", "a b", "a/b", "-a", "x" * 65, "a\n", "a\0", "..", "ä"])
def test_a_bad_name_is_refused(mesh, name):
    assert code_of(request(name)) == "invalid_name"


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"mode": "private"}, "mode_not_available"),
        ({"mode": "masked"}, "mode_not_available"),
        ({"rule": "no_such"}, "rule_not_available"),
        ({"rule": "krum", "byzantine": 1, "quorum": 4}, "invalid_policy"),
        ({"quorum": 5, "target": 4}, "invalid_policy"),
        ({"max_norm": 1e31}, "invalid_policy"),
        ({"target": 100_001}, "invalid_policy"),
    ],
)
def test_a_policy_that_can_not_be_kept_is_refused(mesh, policy, code):
    assert code_of(request(policy=policy)) == code


@pytest.mark.parametrize("weights", [None, {}])
def test_a_custom_task_without_weights_is_refused(mesh, weights):
    assert code_of(request(task=CUSTOM, weights=weights)) == "invalid_task"


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_first_weights_that_are_not_finite_are_refused(mesh, number):
    assert code_of(request(task=CUSTOM, weights={"a": np.array([1, number], np.float32)})) == "invalid_task"


def test_a_task_that_contradicts_itself_is_refused(mesh):
    assert code_of(request(task={"center": [0.0]})) == "invalid_task"


def test_a_name_that_is_taken_is_refused(mesh, model):
    assert code_of(request(), NotNowError) == "model_exists"


@pytest.mark.parametrize(
    ("change", "code"), [({"mode": "private"}, "mode_not_available"), ({"quorum": 1000}, "invalid_policy")]
)
def test_a_policy_changes_only_to_one_that_can_be_kept(model, change, code):
    changed = msgspec.convert(model.policy | change, RoundPolicy)
    with nothing_changes(), pytest.raises(SenderError) as refused:
        services.change_policy(model, changed, actor="test")
    assert refused.value.code == code


def test_a_mode_is_for_life(mesh, model, monkeypatch):
    """Also when there are more modes than one: another mode is another model."""
    monkeypatch.setattr("boltz_core.rounds.policy.AVAILABLE_MODES", ("robust", "private"))
    changed = msgspec.convert(model.policy | {"mode": "private"}, RoundPolicy)
    with nothing_changes(), pytest.raises(SenderError) as refused:
        services.change_policy(model, changed, actor="test")
    assert refused.value.code == "mode_not_available"
    assert "for life" in refused.value.message


def test_a_schedule_is_changed_and_logged(model):
    services.change_schedule(model, keeps_open=True, pause_seconds=60, actor="operator_x")
    assert FederatedModel.objects.values_list("keeps_open", "pause_seconds").get() == (True, 60)
    assert log.entries_of_type("schedule.changed").get().actor == "operator_x"
