"""Rounds under every rule: two passes over sealed segments, whatever gets lost on the way, and one result."""

import itertools
import re
import secrets

import msgspec
import numpy as np
import pytest

from apps.aggregation import services, tasks
from apps.aggregation.models import Run, Shard
from apps.aggregation.services import runs, shard_files
from apps.audit import selectors as log
from apps.audit import services as audit
from apps.rounds.models import Update
from apps.rounds.services import registry
from boltz_core.aggregation.decision import Decision
from boltz_core.aggregation.in_memory import aggregate
from boltz_core.aggregation.rules.parameters import PlanError
from tests.apps.aggregation.wide_rounds import (
    MAX_NORM,
    SEGMENT,
    SHARDS,
    finish,
    flip,
    lose,
    members_of,
    run_of,
    staged,
    step_files,
    weights_of,
)
from tests.apps.faults import raises
from tests.apps.together import together
from tests.apps.unchanged import nothing_changes

MEMBERS = 9
KRUM = {"rule": "krum", "byzantine": 2, "quorum": 7}
NNM = {"rule": "trimmed_mean", "before": ["nnm"], "byzantine": 2, "quorum": 7}
POLICIES = {
    "weighted_mean_clipped": {"rule": "weighted_mean", "before": ["norm_clip"]},
    "median": {"rule": "median", "byzantine": 2, "quorum": 7},
    "trimmed_mean": {"rule": "trimmed_mean", "byzantine": 2, "quorum": 7},
    "krum": KRUM,
    "multi_krum": {"rule": "multi_krum", "byzantine": 2, "quorum": 7, "parameters": {"selected": 4.0}},
    "bulyan": {"rule": "bulyan", "byzantine": 1, "quorum": 7},
    "geometric_median": {"rule": "geometric_median", "byzantine": 2, "quorum": 7},
    "centered_clipping": {"rule": "centered_clipping", "byzantine": 2, "quorum": 7, "parameters": {"radius": 0.1}},
    "nnm_trimmed_mean": NNM,
    "bucketed_median": {"rule": "median", "before": ["bucketing"], "byzantine": 1, "quorum": 7},
}
# where distances tie, or members are dealt out, their order decides; in memory it is another one
TIED = ("bulyan", "bucketed_median")
MEASURED = {"krum", "multi_krum", "bulyan", "geometric_median", "centered_clipping", "nnm_trimmed_mean"}


def make_vectors(wide):
    """Honest members near to one direction, and two that are far from it."""
    direction = wide.vectors(1)[0]
    honest = [direction * np.float32(0.5) + vector * np.float32(0.2) for vector in wide.vectors(MEMBERS - 2)]
    return [*honest, -direction * np.float32(0.9), -direction * np.float32(0.8)]


def measure_all(run):
    """What the workers do with the first pass of a run."""
    for number in range(run.shards):
        services.measure_shard(run.pk, number)


def carry_out(round_):
    """What the workers do with a round."""
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    if run.decision is None:
        measure_all(run)
        services.decide_run(run.pk)
    return finish(round_)


@pytest.mark.parametrize("name", POLICIES.keys() - TIED)
def test_a_round_gives_what_its_rule_gives_of_the_same_updates_in_memory(wide, several_shards, name):
    vectors, policy = make_vectors(wide), POLICIES[name]
    round_ = wide.freeze(vectors, **policy)
    assert carry_out(round_).state == "published"
    decided = Decision.from_record(run_of(round_).decision)
    assert (decided.planned.geometry_sha256 is not None) == (name in MEASURED)
    alone = aggregate(
        np.array(vectors),
        rule=policy["rule"],
        byzantine=policy.get("byzantine"),
        before=policy.get("before", ()),
        parameters={
            key: int(value) if value == int(value) else value for key, value in policy.get("parameters", {}).items()
        },
    )
    np.testing.assert_allclose(weights_of(round_), alone.vector, rtol=1e-5, atol=1e-6 * MAX_NORM)


@pytest.mark.parametrize("name", TIED)
def test_a_rule_that_depends_on_the_order_of_members_still_follows_the_honest_ones(wide, several_shards, name):
    vectors = make_vectors(wide)
    round_ = wide.freeze(vectors, **POLICIES[name])
    assert carry_out(round_).state == "published"
    honest, found = np.mean(vectors[:-2], axis=0), weights_of(round_)
    assert found @ honest / np.linalg.norm(found) / np.linalg.norm(honest) > 0.8


@pytest.mark.parametrize("name", POLICIES.keys() - {"bucketed_median"})
def test_however_many_shards_there_are_the_weights_are_the_same_to_the_bit(wide, settings, name, monkeypatch):
    # members are put in the order of their ids, which are random
    ids = (f"u{number:021d}" for number in itertools.count())
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _: next(ids))
    vectors, found = make_vectors(wide), set()
    for shard_parameters in (10 * SEGMENT, 2 * SEGMENT, SEGMENT):
        settings.BOLTZ_SHARD_PARAMETERS = shard_parameters
        round_ = wide.freeze(vectors, **POLICIES[name])
        found.add(carry_out(round_).version.weights_sha256)
    assert len(found) == 1


# --- the first pass ---------------------------------------------------------------------------------------------------------


def test_a_rule_that_looks_at_distances_is_decided_after_a_pass_of_its_own(wide, several_shards, messages):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    messages.clear()
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    assert run.decision is None
    assert messages == [("aggregation.measure_shard", run.pk, number) for number in range(SHARDS)]
    assert audit.read_detail(log.entries_of_type("run.begun").get()) == {
        "fence": 1,
        "members": MEMBERS,
        "shards": SHARDS,
    }
    messages.clear()
    for number in range(SHARDS):
        tasks.measure_shard(run.pk, number)
    tasks.decide_run(run.pk)
    assert messages == [("aggregation.combine_shard", run.pk, number) for number in range(SHARDS)]
    decided = Decision.from_record(run_of(round_).decision)
    assert audit.read_detail(log.entries_of_type("run.decided").get()) == {
        "fence": 1,
        "members": MEMBERS,
        "decision_sha256": decided.digest,
    }
    assert sorted(decided.weights) == [0] * (MEMBERS - 1) + [1]


def test_a_single_shard_needs_no_messages(wide, messages):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    messages.clear()
    services.aggregate_round(round_.pk)
    round_.refresh_from_db()
    assert (round_.state, messages) == ("published", [])


def test_members_that_a_rule_has_not_chosen_have_a_share_of_nothing(wide):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    services.aggregate_round(round_.pk)
    members = members_of(round_)
    assert {member.state for member in members} == {"aggregated"}
    assert sorted(member.share for member in members) == [0.0] * (MEMBERS - 1) + [1.0]


def test_the_geometry_lies_sealed_on_the_disk_and_goes_with_the_run(wide, several_shards):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    measure_all(run)
    contents = [path.read_bytes() for path in shard_files.directory_of(run.pk).iterdir()]
    assert len(contents) == SHARDS
    assert not any(b"boltzgm1" in content for content in contents)
    services.decide_run(run.pk)
    finish(round_)
    assert step_files() == []


@pytest.mark.django_db(transaction=True)
def test_parts_that_come_twice_late_or_in_any_order_change_nothing(wide, several_shards):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    services.measure_shard(run.pk, 2)
    services.measure_shard(run.pk, 2)
    with nothing_changes():
        services.decide_run(run.pk)
        services.combine_shard(run.pk, 0)
        services.finish_run(run.pk)
    assert together(*[lambda: services.measure_shard(run.pk, 1)] * 3) == [None] * 3
    services.measure_shard(run.pk, 0)
    assert together(*[lambda: services.decide_run(run.pk)] * 3) == [None] * 3
    assert log.entries_of_type("run.decided").count() == 1
    with nothing_changes():
        measure_all(run)
        services.decide_run(run.pk)
    assert finish(round_).state == "published"


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x" * 100)])
def test_a_part_that_was_damaged_is_measured_again(wide, several_shards, messages, damage):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    measure_all(run)
    damage(shard_files.path_of(run.pk, "measure", 1))
    services.decide_run(run.pk)
    assert run_of(round_).decision is None
    messages.clear()
    runs.continue_run(run)
    assert messages == [("aggregation.measure_shard", run.pk, 1)]
    services.measure_shard(run.pk, 1)
    messages.clear()
    runs.continue_run(run)
    assert messages == [("aggregation.decide_run", run.pk)]
    services.decide_run(run.pk)
    assert finish(round_).state == "published"


def test_when_the_broker_is_gone_both_passes_are_done_in_place(wide, several_shards, monkeypatch):
    round_ = wide.freeze(make_vectors(wide), **NNM)
    monkeypatch.setattr("apps.dispatch.publish", lambda *_: False)
    monkeypatch.setattr(runs.celery, "chord", raises(ConnectionError("redis is down")))
    services.aggregate_round(round_.pk)
    round_.refresh_from_db()
    assert round_.state == "published"


def test_a_run_that_is_lost_between_its_passes_is_taken_over_and_measured_anew(wide, several_shards):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    services.aggregate_round(round_.pk)
    lost = run_of(round_)
    measure_all(lost)
    lose(lost)
    services.aggregate_round(round_.pk)
    services.decide_run(lost.pk)
    assert Run.objects.get(pk=lost.pk).decision is None
    measure_all(run_of(round_))
    services.decide_run(run_of(round_).pk)
    assert finish(round_).state == "published"
    assert run_of(round_).fence == 2


def test_a_member_that_is_found_damaged_while_it_is_measured_is_left_out(wide, several_shards):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    services.aggregate_round(round_.pk)
    victim = members_of(round_)[0]
    flip(staged(victim))
    measure_all(run_of(round_))
    run = run_of(round_)
    assert (run.fence, run.members) == (2, MEMBERS - 1)
    measure_all(run)
    services.decide_run(run.pk)
    assert finish(round_).state == "published"
    victim.refresh_from_db()
    assert (victim.state, victim.code) == ("expired", "server_fault")


def test_a_measuring_that_outlives_its_run_leaves_neither_row_nor_decision(wide, several_shards, monkeypatch):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    real = shard_files.writing

    def ended_meanwhile(*arguments):
        Run.objects.filter(pk=run.pk).update(state="superseded")
        return real(*arguments)

    monkeypatch.setattr(shard_files, "writing", ended_meanwhile)
    services.measure_shard(run.pk, 0)
    assert not Shard.objects.exists()


@pytest.mark.parametrize("left", [MEMBERS - 1, 3], ids=["enough", "too few"])
def test_a_run_whose_members_are_fewer_than_it_was_begun_with_decides_nothing(wide, several_shards, left):
    round_ = wide.freeze(make_vectors(wide), **KRUM)
    services.aggregate_round(round_.pk)
    run = run_of(round_)
    services.measure_shard(run.pk, 0)
    gone = [member.pk for member in members_of(round_)[left:]]
    Update.objects.filter(pk__in=gone).update(state="expired")
    with nothing_changes():
        services.measure_shard(run.pk, 1)
    Update.objects.filter(pk__in=gone).update(state="staged")
    measure_all(run)
    Update.objects.filter(pk__in=gone).update(state="expired")
    with nothing_changes():
        services.decide_run(run.pk)


def test_by_hand_a_round_is_measured_decided_and_combined_at_once(wide, several_shards):
    round_ = wide.freeze(make_vectors(wide), **NNM)
    assert services.aggregate_now(round_, actor="test").state == "published"


# --- who is in --------------------------------------------------------------------------------------------------------------


def test_an_update_whose_norm_is_far_above_the_others_is_left_out_and_told_why(wide):
    vectors = [vector * np.float32(0.1) for vector in wide.vectors(8)]
    vectors.append(vectors[0] * np.float32(9))
    round_ = wide.freeze(vectors, rule="median", byzantine=1, quorum=3)
    services.aggregate_round(round_.pk)
    assert weights_of(round_).any()
    states = {member.norm > 0.1: (member.state, member.code) for member in members_of(round_)}
    assert states == {False: ("aggregated", ""), True: ("expired", "norm_gated")}
    gated = next(member for member in members_of(round_) if member.state == "expired")
    assert "median" in gated.reason
    assert round_.version.members == 8


def test_a_round_that_the_gate_leaves_with_too_few_is_abandoned_and_says_so(wide):
    vectors = [vector * np.float32(0.1) for vector in wide.vectors(2)]
    vectors += [vector * np.float32(0.001) for vector in wide.vectors(4)]
    round_ = wide.freeze(vectors, rule="median", byzantine=1, quorum=5)
    services.aggregate_round(round_.pk)
    round_.refresh_from_db()
    assert round_.state == "abandoned"
    assert "quorum is 5" in round_.reason


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"rule": "krum", "byzantine": 2, "quorum": 6}, "needs n >= 2f + 3, at least 7; there are 6"),
        ({"rule": "no_such"}, "no rule 'no_such'"),
        ({"rule": "median", "before": ["no_such"]}, "'no_such'"),
        ({"rule": "median", "parameters": {"selected": 3.0}}, "no parameter 'selected'"),
    ],
)
def test_a_policy_that_could_not_be_kept_is_refused_when_it_is_written(wide, policy, said):
    round_ = wide.freeze(wide.vectors(1))
    model = round_.model
    changed = msgspec.structs.replace(model.round_policy(), target=10, **policy)
    with nothing_changes(), pytest.raises(PlanError, match=re.escape(said)):
        registry.change_policy(model, changed, actor="test")
