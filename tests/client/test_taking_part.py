"""From four lines of Python to a published version."""

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from msgspec import structs

from boltz_client import FederatedClient, LocalPolicy
from boltz_client.dataset import NamedColumns
from boltz_client.errors import (
    DataError,
    LocalError,
    NotRegisteredError,
    OutsideLocalPolicyError,
    PendingApprovalError,
    RoundNotOpenError,
    SuspendedError,
    TrainerError,
    UnknownModelError,
)
from boltz_client.trainers import LinearTrainer
from boltz_protocol import tasks, tensors
from tests.client.mesh_simulation import CUSTOM, FEATURES, MLP, URL, SimulatedMesh


def test_the_four_lines_of_the_document_end_in_a_verified_receipt(mesh, make_client, data):
    client = make_client("my-client")
    client.register(region="us-east-1")
    result = client.participate_in_round("boltz-core", {"X": data["X"], "y": data["y"]}, round_number=1)
    update = mesh.the_update()
    assert result.receipt.body_sha256 == update.body_sha256
    assert (result.model, result.round, result.upload_id) == ("boltz-core", 1, update.place.upload_id)
    assert result.examples == update.claims.examples == 200
    assert result.norm_sent == pytest.approx(float(np.linalg.norm(update.delta)), rel=1e-6)
    assert not result.decided
    assert result.decision == "received"


def test_the_update_sent_is_trained_weights_minus_base(mesh, client, data):
    class Adds:
        def train(self, weights, X, y):
            return {name: array + 0.25 for name, array in weights.items()}

        def evaluate(self, weights, X, y):
            return {}

    client.participate_in_round("boltz-core", data, trainer=Adds())
    assert mesh.the_update().delta.tolist() == [0.25] * 4


def test_training_makes_the_model_better_and_the_metrics_say_so(mesh, client, data):
    trainer = LinearTrainer(client.pull("boltz-core").manifest.task, epochs=20)
    result = client.participate_in_round("boltz-core", data, trainer=trainer)
    assert result.metrics["after.mse"] < 0.5 * result.metrics["before.mse"]
    mesh.publish(1)
    pulled = client.pull("boltz-core")
    assert tasks.score("r2", data["y"], pulled.predict(data["X"])) > 0.5


def test_waiting_for_the_result_tells_the_version_it_went_into(mesh, client, data):
    result = client.participate_in_round("boltz-core", data)
    mesh.publish(1)
    decided = result.wait()
    assert decided.decided
    assert decided.decision == "aggregated into version 1"
    assert decided.status.weight == 1.0
    assert result.refreshed().decided


def test_a_wait_ends_with_its_time_and_backs_off_from_100_ms_to_5_s(mesh, client, data):
    result = client.participate_in_round("boltz-core", data, wait_for_result=60)
    assert result.status.state == "staged"
    assert not result.decided
    slept = mesh.clock.slept
    assert slept[:10] == [0.1] * 10
    # what is waited too long is at most a tenth of what had been waited before
    assert all(pause <= max(0.1, 0.1 * sum(slept[:index]) + 1e-9) for index, pause in enumerate(slept))
    assert mesh.count("GET .*/updates/") == len(slept) + 1
    assert slept[:-1] == sorted(slept[:-1])
    assert max(slept) == 5.0
    assert sum(slept) == pytest.approx(60, abs=0.001)


def test_a_mesh_that_holds_its_answers_is_asked_without_pauses_and_never_past_the_end_of_the_wait(mesh, client, data):
    asked = mesh.hold_looks()
    result = client.participate_in_round("boltz-core", data, wait_for_result=50)
    assert asked == ["wait=20", "wait=20", "wait=10"]
    assert mesh.clock.slept == []
    result.refreshed()
    assert asked[3:] == [None]


def test_a_rejected_update_says_why(mesh, client, data):
    result = client.participate_in_round("boltz-core", data)
    update = mesh.the_update()
    update.state, update.code, update.reason = "rejected", "not_finite", "a value is not finite"
    assert result.wait().decision == "rejected: a value is not finite"


def test_an_abandoned_round_is_a_decision_too(mesh, client, data):
    result = client.participate_in_round("boltz-core", data)
    mesh.rounds[1].state = "abandoned"
    assert result.wait(timeout_seconds=0).decided


def test_a_delta_over_the_bound_is_clipped_to_a_hair_below_it(mesh, client, data):
    mesh.rounds[1].policy = structs.replace(mesh.rounds[1].policy, max_norm=0.01)
    result = client.participate_in_round("boltz-core", data)
    norm = float(np.linalg.norm(mesh.the_update().delta.astype(np.float64)))
    assert result.clipped
    assert 0.01 * (1 - 2e-6) < norm <= 0.01


def test_pandas_columns_are_taken_by_name_whatever_their_order(mesh, client, data):
    frame = pd.DataFrame(data["X"], columns=FEATURES)[["momentum", "spread", "volume"]]
    client.participate_in_round("boltz-core", {"X": frame, "y": pd.Series(data["y"])})
    by_name = mesh.the_update().delta
    fresh = SimulatedMesh()
    other = FederatedClient(
        "bob", URL, home=client.home / "other", transport=fresh.transport(), clock=fresh.clock.for_client()
    )
    other.register(region="eu")
    other.participate_in_round("boltz-core", data)
    assert by_name.tolist() == fresh.the_update().delta.tolist()


def test_wrong_columns_are_refused_before_the_round_is_joined(mesh, client, data):
    frame = pd.DataFrame(data["X"], columns=["spread", "volume", "returns"])
    with pytest.raises(DataError) as caught:
        client.participate_in_round("boltz-core", {"X": frame, "y": data["y"]})
    assert "Missing: momentum" in caught.value.message
    assert "Not the model's, or twice: returns" in caught.value.message
    assert not mesh.rounds[1].joined


def test_dropped_rows_are_counted_and_said(mesh, client, data):
    X, y = data["X"].copy(), data["y"].copy()
    X[:10, 1] = np.nan
    y[5:20] = np.inf
    result = client.participate_in_round("boltz-core", {"X": X, "y": y})
    claims = mesh.the_update().claims
    assert (result.examples, result.invalid_share) == (180, pytest.approx(0.1))
    assert (claims.examples, claims.invalid_share) == (180, pytest.approx(0.1))
    assert claims.feature_coverage == pytest.approx(1 - 10 / 600)


def test_metrics_are_shared_in_four_digits_or_not_at_all(mesh, make_client, data):
    secretive = make_client("secretive", local_policy=LocalPolicy(share_metrics=False))
    open_handed = make_client("open")
    for client in (secretive, open_handed):
        client.register(region="eu")
    kept = secretive.participate_in_round("boltz-core", data)
    open_handed.participate_in_round("boltz-core", data)
    claims = {update.client_id: update.claims for update in mesh.rounds[1].updates.values()}
    assert claims["c_0"].metrics == {}
    assert set(kept.metrics) == set(claims["c_1"].metrics) == {"before.mse", "before.r2", "after.mse", "after.r2"}
    assert all(float(f"{value:.4g}") == value for value in claims["c_1"].metrics.values())


def test_calling_again_gives_the_same_update_and_says_resumed(mesh, client, make_client, data):
    first = client.participate_in_round("boltz-core", data)
    again = make_client().participate_in_round("boltz-core", data, round_number=1)
    assert again.resumed
    assert not first.resumed
    assert again.signed_receipt == first.signed_receipt
    assert (again.norm_sent, again.examples, again.metrics) == (first.norm_sent, first.examples, first.metrics)
    assert mesh.count("^PUT") == 1


def test_a_published_round_still_gives_its_result_to_who_took_part(mesh, client, make_client, data):
    client.participate_in_round("boltz-core", data)
    mesh.publish(1)
    mesh.open_round()
    result = make_client().participate_in_round("boltz-core", data, round_number=1, wait_for_result=True)
    assert result.decision == "aggregated into version 1"


def test_the_next_round_builds_on_the_published_version(mesh, client, data):
    client.participate_in_round("boltz-core", data)
    version = mesh.publish(1)
    mesh.open_round()
    client.participate_in_round("boltz-core", data)
    assert mesh.the_update(2).header.base_sha256 == version.weights_sha256


def test_a_closed_round_says_when_the_next_one_opens(mesh, client, data):
    mesh.rounds[1].state = "published"
    mesh.open_round(state="scheduled", opens_at=mesh.clock.utc() + timedelta(hours=6))
    with pytest.raises(RoundNotOpenError, match=r"published.*round 2 opens at 2026-03-02 15:00:00 UTC"):
        client.participate_in_round("boltz-core", data, round_number=1)


def test_a_closed_round_says_which_one_is_open(mesh, client, data):
    mesh.rounds[1].state = "sealed"
    mesh.open_round()
    with pytest.raises(RoundNotOpenError, match=r"sealed.*round 2 is open now"):
        client.participate_in_round("boltz-core", data, round_number=1)


def test_a_closed_round_without_a_next_one_says_how_to_wait(mesh, client, data):
    mesh.rounds[1].state = "aggregating"
    with pytest.raises(RoundNotOpenError, match="the next round is not known yet"):
        client.participate_in_round("boltz-core", data)


def test_a_scheduled_round_is_refused_with_its_time_or_waited_for(mesh, client, data):
    mesh.rounds.clear()
    mesh.open_round(state="scheduled", opens_at=mesh.clock.utc() + timedelta(minutes=10))
    with pytest.raises(RoundNotOpenError) as caught:
        client.participate_in_round("boltz-core", data)
    assert caught.value.opens_at == mesh.rounds[1].opens_at
    result = client.participate_in_round("boltz-core", data, wait_for_open=True)
    assert result.round == 1
    assert mesh.clock.utc() >= mesh.rounds[1].opens_at


def test_a_round_that_does_not_exist_yet_is_not_now(mesh, client, data):
    with pytest.raises(RoundNotOpenError, match="boltz-core has no round 9 yet"):
        client.participate_in_round("boltz-core", data, round_number=9)


def test_an_unknown_model_is_said_with_what_to_do(mesh, client, data):
    with pytest.raises(UnknownModelError, match=r"models\(\) lists"):
        client.participate_in_round("other", data)


@pytest.mark.parametrize("name", ["../admin", "a/b", "", "Boltz", "x" * 65])
def test_a_name_that_is_no_models_never_reaches_the_network(mesh, client, data, name):
    before = len(mesh.log)
    with pytest.raises(LocalError, match="cannot be the name of a model"):
        client.participate_in_round(name, data)
    assert len(mesh.log) == before


def test_without_registration_the_answer_is_to_register(mesh, make_client, data):
    with pytest.raises(NotRegisteredError, match="register"):
        make_client().participate_in_round("boltz-core", data)
    assert mesh.log == []


@pytest.mark.parametrize(("status", "error"), [("pending", PendingApprovalError), ("suspended", SuspendedError)])
def test_a_client_that_may_not_take_part_is_told_so(mesh, client, data, status, error):
    alice = mesh.clients["c_0"]
    alice.record = structs.replace(alice.record, status=status)
    with pytest.raises(error, match=f"this client is {status}"):
        client.participate_in_round("boltz-core", data)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (LocalPolicy(modes=frozenset({"private"})), "its mode is 'robust'"),
        (LocalPolicy(smallest_quorum=3), "its quorum is 1, wanted: at least 3"),
        (LocalPolicy(largest_max_norm=1.0), "its max_norm is 10, allowed: up to 1"),
    ],
)
def test_a_round_outside_the_participants_own_rules_gets_nothing(mesh, make_client, data, policy, words):
    client = make_client(local_policy=policy)
    client.register(region="eu")
    with pytest.raises(OutsideLocalPolicyError, match=words):
        client.participate_in_round("boltz-core", data)
    assert not mesh.rounds[1].joined


def test_an_mlp_trains_without_being_told_how(tmp_path, data):
    mesh = SimulatedMesh(MLP)
    client = FederatedClient("m", URL, home=tmp_path, transport=mesh.transport(), clock=mesh.clock.for_client())
    client.register(region="eu")
    result = client.participate_in_round("boltz-core", data)
    assert result.metrics["after.mse"] < result.metrics["before.mse"]
    assert mesh.the_update().delta.shape == (mesh.layout.parameters,)


class OwnTrainer:
    """A custom model: two numbers of its own."""

    def train(self, weights, X, y):
        return {"own": weights["own"] + np.float32(X.shape[1])}

    def evaluate(self, weights, X, y):
        return {"own metric": 1.0, "not finite": float("nan")}


def test_a_custom_task_takes_the_participants_trainer(tmp_path):
    mesh = SimulatedMesh(CUSTOM, weights={"own": np.zeros((1, 2), np.float32)})
    client = FederatedClient("c", URL, home=tmp_path, transport=mesh.transport(), clock=mesh.clock.for_client())
    client.register(region="eu")
    data = {"X": np.ones((20, 5)), "y": np.ones(20)}
    with pytest.raises(TrainerError, match="pass trainer="):
        client.participate_in_round("boltz-core", data)
    result = client.participate_in_round("boltz-core", data, trainer=OwnTrainer())
    assert mesh.the_update().delta.tolist() == [5.0, 5.0]
    assert result.metrics == {"before.own metric": 1.0, "after.own metric": 1.0}
    with pytest.raises(tasks.TaskError):
        client.pull("boltz-core").predict(data["X"])


@pytest.mark.parametrize(
    ("trained", "words"),
    [
        ({"bias": np.zeros(1)}, "must return the tensors it was given"),
        ({"bias": np.zeros(1), "weight": np.zeros(4)}, "must return the tensors it was given"),
        ({"bias": np.array([np.nan]), "weight": np.zeros(3)}, "NaN or infinite"),
    ],
)
def test_a_trainer_that_returns_something_else_sends_nothing(mesh, client, data, trained, words):
    class Broken:
        def train(self, weights, X, y):
            return trained

        def evaluate(self, weights, X, y):
            return {}

    with pytest.raises(TrainerError, match=words):
        client.participate_in_round("boltz-core", data, trainer=Broken())
    assert mesh.count("^PUT") == 0


def test_a_trainer_that_writes_into_its_weights_is_stopped(client, data):
    class Writes:
        def train(self, weights, X, y):
            weights["bias"][0] = 1.0
            return weights

        def evaluate(self, weights, X, y):
            return {}

    with pytest.raises(ValueError, match="read-only"):
        client.participate_in_round("boltz-core", data, trainer=Writes())


def test_status_and_rounds_can_be_asked_for(mesh, client, data):
    with pytest.raises(LocalError, match="sent no update for boltz-core"):
        client.status("boltz-core")
    client.participate_in_round("boltz-core", data)
    mesh.publish(1)
    mesh.open_round()
    client.participate_in_round("boltz-core", data)
    assert client.status("boltz-core").round == 2
    assert client.status("boltz-core", 1).state == "aggregated"
    with pytest.raises(LocalError, match="boltz-core round 7"):
        client.status("boltz-core", 7)
    assert [view.round for view in client.rounds("boltz-core", limit=5)] == [2, 1]
    assert client.round("boltz-core", 1).version == 1
    assert client.round("boltz-core").round == 2
    assert [view.name for view in client.models()] == ["boltz-core"]
    assert client.trust().label == "new"


def test_an_update_too_long_for_the_round_is_not_sent(mesh, client, data):
    original = mesh.descriptor
    mesh.descriptor = lambda round_: structs.replace(original(round_), max_envelope_bytes=100)
    with pytest.raises(LocalError, match="the round takes 100"):
        client.participate_in_round("boltz-core", data)
    assert mesh.count("^PUT") == 0


def test_named_columns_stand_in_for_pandas(mesh, client, data):
    X = NamedColumns(FEATURES[::-1], data["X"][:, ::-1])
    client.participate_in_round("boltz-core", {"X": X, "y": data["y"]})
    assert mesh.the_update().claims.examples == 200


def test_the_journal_keeps_the_receipt_where_anyone_can_read_it(client, data):
    result = client.participate_in_round("boltz-core", data)
    entry = json.loads((client.home / "rounds" / "boltz-core" / "1.json").read_bytes())
    assert entry["receipt"]["payload"] == result.signed_receipt.payload


def test_twelve_clients_make_the_mean_of_what_they_sent(mesh, make_client, data):
    for number in range(12):
        client = make_client(f"client-{number}")
        client.register(region="eu")
        rows = slice(number * 16, number * 16 + 16)
        client.participate_in_round("boltz-core", {"X": data["X"][rows], "y": data["y"][rows]})
    deltas = [update.delta for update in mesh.rounds[1].updates.values()]
    mesh.publish(1)
    pulled = client.pull("boltz-core")
    assert len(deltas) == 12
    np.testing.assert_array_equal(pulled.vector, np.mean(deltas, axis=0).astype(np.float32))
    np.testing.assert_array_equal(tensors.flatten(pulled.weights, pulled.layout), pulled.vector)
