"""What the gate does with new versions: who passes, who stays a candidate, and that nothing is left waiting."""

import os
from datetime import timedelta

import numpy as np
import pytest
from django.db.models.functions import Now

from apps import dispatch
from apps.aggregation import services as aggregation
from apps.audit import selectors as log
from apps.audit import services as audit
from apps.rounds import holdouts, selectors, services, versions
from apps.rounds.models import FederatedModel, ModelVersion, Round, Verdict
from apps.rounds.services import scores, verdicts
from boltz_core.rounds.states import WrongStateError
from boltz_protocol import tasks
from tests.apps.faults import raises
from tests.apps.mesh import MODEL
from tests.apps.rounds.trained import BAD, GOOD
from tests.apps.together import together
from tests.apps.unchanged import nothing_changes

pytestmark = pytest.mark.django_db(transaction=True)


def verdict():
    return Verdict.objects.select_related("against").latest("pk")


def judge(version):
    services.judge_candidate(version.pk)
    return verdict()


def holdout_file(gated):
    return holdouts.stored_path(gated.model, gated.model.version_gate().holdout_sha256)


# --- who passes ---------------------------------------------------------------------------------------------------------


def test_a_version_of_a_gated_model_is_a_candidate_until_it_has_been_judged(gated):
    made = gated.train()
    assert gated.states() == ["current", "candidate"]
    assert verdict().state == "waiting"
    published = audit.read_detail(log.entries_of_type("version.published").latest("created_at"))
    assert (published["version"], published["state"]) == (made.number, "candidate")


def test_a_candidate_that_is_better_becomes_current(gated):
    found = judge(gated.train(GOOD))
    assert gated.states() == ["superseded", "current"]
    assert (found.state, found.metric, found.margin, found.against.number) == ("passed", "mse", 0.0, 0)
    assert found.candidate_score < found.current_score
    promoted = audit.read_detail(log.entries_of_type("version.promoted").get())
    assert (promoted["version"], promoted["instead_of"], promoted["outcome"]) == (1, 0, "passed")
    assert float(promoted["candidate_score"]) == found.candidate_score


def test_a_candidate_that_is_worse_stays_one_and_its_numbers_are_kept(gated):
    found = judge(gated.train(BAD))
    assert gated.states() == ["current", "candidate"]
    assert (found.state, found.reason) == ("failed", "on the hold-out its mse is worse by more than 0")
    assert found.candidate_score > found.current_score
    refused = audit.read_detail(log.entries_of_type("version.refused").get())
    assert (refused["version"], refused["against"], refused["outcome"]) == (1, 0, "failed")
    assert float(refused["current_score"]) == found.current_score


def test_the_scores_are_those_of_the_task_on_the_operator_s_examples(gated, holdout):
    made = gated.train(GOOD)
    found = judge(made)
    examples = np.load(holdout)
    task = gated.model.task_spec()
    pulled = gated.client.pull(MODEL, made.number)
    predicted = tasks.predict(task, pulled.weights, tasks.scale_features(task, examples["X"]))
    assert found.candidate_score == pytest.approx(tasks.score("mse", examples["y"], predicted), rel=1e-12)
    assert found.current_score == pytest.approx(float(np.mean(examples["y"] ** 2)), rel=1e-12)


def test_a_worse_candidate_passes_within_the_margin(gated, holdout):
    services.set_gate(gated.model, services.GateRequest(holdout, margin=10.0), actor="test", reason="anything goes")
    found = judge(gated.train(BAD))
    assert found.candidate_score > found.current_score
    assert gated.states() == ["superseded", "current"]


def test_predictions_in_blocks_have_the_score_of_all_rows(gated, monkeypatch):
    whole = judge(gated.train(GOOD)).candidate_score
    monkeypatch.setattr(scores, "BLOCK_NUMBERS", 7 * 9)
    gate = gated.model.version_gate()
    score = scores.score_of(gated.version(1), holdouts.load(gated.model, gate), gate.metric)
    assert score == pytest.approx(whole, rel=1e-12)


def test_a_candidate_whose_predictions_overflow_fails_and_has_no_score(gated, monkeypatch):
    made = gated.train(GOOD)
    unflatten = scores.tensors.unflatten

    def huge(vector, layout):
        # the current version has zeros alone
        return {name: np.where(array, np.float64(1e200), array) for name, array in unflatten(vector, layout).items()}

    monkeypatch.setattr(scores.tensors, "unflatten", huge)
    found = judge(made)
    assert (found.state, found.candidate_score) == ("failed", None)
    assert found.current_score is not None


def test_a_candidate_passes_when_the_gate_was_removed_before_it_was_judged(gated):
    made = gated.train(BAD)
    services.remove_gate(gated.model, actor="test", reason="too strict")
    assert judge(made).state == "passed"
    assert gated.states() == ["superseded", "current"]


# --- the next round -----------------------------------------------------------------------------------------------------


def test_the_next_round_waits_for_the_verdict(gated):
    made = gated.train(GOOD)
    waiting = gated.open()
    assert (waiting.state, waiting.base) == ("scheduled", None)
    judge(made)
    services.advance_round(waiting.pk)
    assert (gated.mesh.round(2).state, gated.mesh.round(2).base) == ("open", made)


def test_a_model_that_keeps_open_opens_its_next_round_after_the_verdict(gated):
    FederatedModel.objects.update(keeps_open=True)
    made = gated.train(GOOD)
    assert services.open_rounds_due() == []
    judge(made)
    assert (gated.mesh.round(2).state, gated.mesh.round(2).base) == ("open", made)


def test_the_next_round_opens_on_the_current_version_when_a_candidate_has_failed(gated):
    judge(gated.train(BAD))
    assert gated.open().base == gated.version(0)
    gated.send(2)
    made = gated.finish(2)
    judge(made)
    assert (made.number, made.base.number) == (2, 0)
    assert gated.states() == ["superseded", "candidate", "current"]


# --- what keeps the gate from judging -----------------------------------------------------------------------------------


def alter(path):
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (os.unlink, "cannot be read: No such file or directory"),
        (alter, "has changed on disk"),
        (cut, "has changed on disk"),
        (empty, "has changed on disk"),
    ],
)
def test_a_damaged_hold_out_holds_the_candidate_back_and_the_version_is_published(gated, damage, why):
    damage(holdout_file(gated))
    made = gated.train(GOOD)
    assert gated.mesh.round(1).state == "published"
    found = judge(made)
    assert (found.state, found.reason) == ("held_back", f"the hold-out of boltz-core {why}")
    assert (found.candidate_score, gated.states()) == (None, ["current", "candidate"])
    assert audit.read_detail(log.entries_of_type("version.refused").get())["reason"] == found.reason


def test_damaged_weights_hold_the_candidate_back(gated):
    made = gated.train(GOOD)
    versions.storage().delete(made.storage_name())
    found = judge(made)
    assert (found.state, found.reason) == ("held_back", "the weights of boltz-core v1 are missing")


def test_a_candidate_that_was_held_back_is_judged_again(gated):
    path = holdout_file(gated)
    whole = path.read_bytes()
    alter(path)
    made = gated.train(GOOD)
    judge(made)
    path.write_bytes(whole)

    services.judge_again(made, actor="test")

    assert (verdict().state, verdict().reason, verdict().attempts) == ("waiting", "", 0)
    assert log.entries_of_type("version.judged_again").count() == 1
    assert judge(made).state == "passed"
    assert gated.states() == ["superseded", "current"]


def test_only_a_candidate_with_a_verdict_is_judged_again(gated):
    made = gated.train(GOOD)
    with nothing_changes(), pytest.raises(WrongStateError, match="waits for no other verdict"):
        services.judge_again(made, actor="test")
    judge(made)
    with nothing_changes(), pytest.raises(WrongStateError, match="v1 is current and waits for no other verdict"):
        services.judge_again(made, actor="test")


def test_a_candidate_that_an_operator_has_promoted_meanwhile_is_not_judged(gated):
    made = gated.train(BAD)
    services.promote(made, actor="test", reason="we know better")
    found = judge(made)
    assert (found.state, found.reason) == ("held_back", "an operator promoted it before it was judged")
    assert gated.states() == ["superseded", "current"]


def test_a_verdict_that_can_never_be_reached_ends_after_some_attempts(gated, monkeypatch):
    made = gated.train(GOOD)
    monkeypatch.setattr(verdicts, "measure", raises(MemoryError()))
    for _ in range(verdicts.MOST_ATTEMPTS):
        with pytest.raises(MemoryError):
            services.judge_candidate(made.pk)
        assert verdict().state == "waiting"
    assert judge(made).reason == "our own failures used up the attempts to judge it"
    assert gated.open().state == "open"


# --- lost, late, doubled ------------------------------------------------------------------------------------------------


def test_a_message_that_comes_twice_changes_nothing(gated):
    made = gated.train(GOOD)
    judge(made)
    with nothing_changes():
        services.judge_candidate(made.pk)
        services.judge_candidate(gated.version(0).pk)


def test_two_who_judge_at_once_release_it_once(gated):
    made = gated.train(GOOD)
    outcomes = together(*[lambda: services.judge_candidate(made.pk)] * 4)
    assert outcomes == [None] * 4
    assert gated.states() == ["superseded", "current"]
    assert log.entries_of_type("version.promoted").count() == 1


def test_a_lost_message_is_sent_again_by_the_reconciler_and_done_there_when_the_broker_is_away(gated, monkeypatch):
    sent = []
    made = gated.train(GOOD)
    monkeypatch.setattr(dispatch, "publish", lambda task, *ids: sent.append((task, *ids)) or True)
    aggregation.reconcile("test")
    assert sent == []
    Verdict.objects.update(next_kick_at=Now() - timedelta(seconds=1))
    aggregation.reconcile("test")
    assert sent == [("rounds.judge_candidate", made.pk)]
    aggregation.reconcile("test")
    assert len(sent) == 1

    monkeypatch.setattr(dispatch, "publish", lambda *_: False)
    Verdict.objects.update(next_kick_at=Now() - timedelta(seconds=1))
    aggregation.reconcile("test")
    assert gated.states() == ["superseded", "current"]


def test_a_finding_is_not_written_when_the_current_version_has_changed_meanwhile(gated, monkeypatch):
    judge(gated.train(GOOD))
    made = gated.train(GOOD)
    measure = verdicts.measure

    def meanwhile_rolled_back(*arguments):
        found = measure(*arguments)
        if found.against.number == 1:
            services.roll_back(gated.version(0), actor="test", reason="bad weights")
        return found

    monkeypatch.setattr(verdicts, "measure", meanwhile_rolled_back)
    assert judge(made).state == "waiting"
    found = judge(made)
    assert (found.state, found.reason, found.against.number) == (
        "held_back",
        "its base is version 1, and version 0 is current",
        0,
    )
    assert gated.states() == ["current", "rolled_back", "candidate"]


def test_a_finding_is_not_written_when_the_gate_has_changed_meanwhile(gated, holdout, monkeypatch):
    made = gated.train(BAD)
    measure = verdicts.measure

    def meanwhile_another_gate(*arguments):
        found = measure(*arguments)
        if found.gate.margin == 0:
            wide = services.GateRequest(holdout, margin=10.0)
            services.set_gate(FederatedModel.objects.get(), wide, actor="test", reason="too strict")
        return found

    monkeypatch.setattr(verdicts, "measure", meanwhile_another_gate)
    assert judge(made).state == "waiting"
    assert (judge(made).state, verdict().margin) == ("passed", 10.0)


def test_a_publication_that_is_undone_leaves_no_verdict(gated, monkeypatch):
    gated.open()
    gated.send(1)
    monkeypatch.setattr(verdicts.dispatch, "send_on_commit", raises(RuntimeError("killed")))
    with pytest.raises(RuntimeError):
        gated.finish(1)
    assert (ModelVersion.objects.count(), Verdict.objects.count()) == (1, 0)
    assert not selectors.verdicts_waiting().exists()
    assert Round.objects.get().state != "published"
