import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.aggregation.decision import Decision, Member, decide, without_members
from boltz_core.aggregation.errors import AggregationError, TooFewUpdatesError
from boltz_core.rounds.policy import PolicyError
from tests.unit.core.made_rows import policy

MEMBERS = [Member("u_b", 1.5, 400), Member("u_a", 0.1, 100), Member("u_c", 11.0, 10**9)]


def test_members_are_ordered_by_update_id_and_weighted_by_capped_examples():
    decision = decide(MEMBERS, policy=policy(example_cap=800))
    assert [member.update_id for member in decision.members] == ["u_a", "u_b", "u_c"]
    assert decision.weights == (131072, 524288, 1048575)
    assert decision.shares == pytest.approx((1 / 13, 4 / 13, 8 / 13), rel=1e-6)
    assert (decision.rule, decision.bound) == ("weighted_mean", 12.0)


@given(order=st.permutations(MEMBERS))
def test_the_order_in_which_members_come_does_not_matter(order):
    assert decide(order, policy=policy()) == decide(MEMBERS, policy=policy())


@given(examples=st.lists(st.integers(1, 10**12), min_size=1, max_size=60), cap=st.integers(1, 10**6))
def test_shares_sum_to_one_rise_with_the_claims_and_are_equal_from_the_cap_on(examples, cap):
    examples.sort()
    decision = decide([Member(f"u{i:03}", 0.0, n) for i, n in enumerate(examples)], policy=policy(example_cap=cap))
    assert math.fsum(decision.shares) == pytest.approx(1)
    assert list(decision.shares) == sorted(decision.shares)
    assert len({share for share, n in zip(decision.shares, examples, strict=True) if n >= cap}) <= 1


def test_fewer_than_the_quorum_are_not_combined():
    with pytest.raises(TooFewUpdatesError, match="3 staged updates; the quorum is 4") as refusal:
        decide(MEMBERS, policy=policy(quorum=4))
    assert refusal.value.code == "too_few_updates"


def test_a_policy_that_no_round_may_have_decides_nothing():
    with pytest.raises(PolicyError):
        decide(MEMBERS, policy=policy(mode="masked"))


@pytest.mark.parametrize(
    "bad", [Member("u_d", math.nan, 1), Member("u_d", -1.0, 1), Member("u_d", 12.1, 1), Member("u_d", 1.0, 0)], ids=str
)
def test_a_member_that_ingest_cannot_have_staged_is_refused(bad):
    with pytest.raises(AggregationError, match="u_d"):
        decide([*MEMBERS, bad], policy=policy())


def test_an_update_that_is_listed_twice_is_refused():
    with pytest.raises(AggregationError, match="listed twice"):
        decide([*MEMBERS, Member("u_a", 0.2, 5)], policy=policy())


def test_the_record_gives_the_decision_back_through_json():
    decision = decide([*MEMBERS, Member("u_d", np.float64(1 / 3), 7)], policy=policy(max_norm=12))
    record = json.loads(json.dumps(decision.record()))
    assert Decision.from_record(record) == decision
    assert Decision.from_record(record).record() == record


def test_the_record_holds_floats_only_as_strings():
    def leaves(value):
        if isinstance(value, dict):
            value = list(value.values())
        return [leaf for each in value for leaf in leaves(each)] if isinstance(value, list) else [value]

    assert {type(leaf) for leaf in leaves(decide(MEMBERS, policy=policy()).record())} == {int, str}


def changed(path, value):
    record = decide(MEMBERS, policy=policy()).record()
    *before, last = path
    target = record
    for step in before:
        target = target[step]
    target[last] = value
    return record


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["v"], 2),
        (["rule"], "krum"),
        (["bound"], "nan"),
        (["bound"], "12"),
        (["bound"], "twelve"),
        (["bound"], 12.0),
        (["example_cap"], 0),
        (["example_cap"], 300),
        (["members"], []),
        (["members", 0, "weight"], 1),
        (["members", 0, "update_id"], "u_z"),
        (["members", 0, "update_id"], "u_b"),
        (["members", 0, "norm"], "13.0"),
        (["members", 0, "examples"], 101),
        (["more"], 1),
    ],
    ids=str,
)
def test_a_record_that_was_changed_is_refused(path, value):
    with pytest.raises(AggregationError):
        Decision.from_record(changed(path, value))


def test_the_digest_of_a_decision_changes_with_anything_in_it():
    decided = decide(MEMBERS, policy=policy())
    others = [decide(MEMBERS[:2], policy=policy()), decide(MEMBERS, policy=policy(example_cap=7))]
    others.append(decide([*MEMBERS[:2], Member("u_c", 11.5, 10**9)], policy=policy()))
    assert len({other.digest for other in (decided, *others)}) == 4
    assert Decision.from_record(decided.record()).digest == decided.digest


def test_a_record_can_be_made_to_forget_a_member_but_not_its_weight():
    record = decide(MEMBERS, policy=policy()).record()
    forgotten = without_members(record, {"u_a"})
    first, *others = forgotten["members"]
    assert first == {"update_id": "u_a", "norm": None, "examples": None, "weight": record["members"][0]["weight"]}
    assert others == record["members"][1:]
    assert without_members(forgotten, {"u_a"}) == forgotten
    assert record["members"][0]["norm"] == "0.1"


def test_a_record_that_has_forgotten_a_member_decides_nothing():
    with pytest.raises(AggregationError):
        Decision.from_record(without_members(decide(MEMBERS, policy=policy()).record(), {"u_a"}))
