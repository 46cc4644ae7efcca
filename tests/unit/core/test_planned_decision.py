import copy
import json

import numpy as np
import pytest

from boltz_core.aggregation.combine import combine_range
from boltz_core.aggregation.combine_statistic import Mixer
from boltz_core.aggregation.decision import Decision, Member, without_members
from boltz_core.aggregation.errors import AggregationError, ConditionError, TooFewUpdatesError
from boltz_core.aggregation.geometry import Geometry
from boltz_core.aggregation.in_memory import plain_rows
from boltz_core.aggregation.plan import carry_out, make_plan
from boltz_core.aggregation.planned_decision import Terms, admit, decide_planned
from boltz_core.aggregation.rules.registry import RULES
from boltz_core.aggregation.shards import plan_shards
from boltz_core.ingest.segments import SEGMENT_PARAMETERS
from tests.unit.core.made_rows import digest, whole
from tests.unit.core.planned_rows import SEED, carried_out, made_updates, measured, merged, opener

TERMS = Terms(bound=10.0, example_cap=50)
MEMBERS = [Member(f"u{i:04}", 1.0 + i / 10, 10 * (i + 1)) for i in range(9)]


def decided(rule="median", *, members=MEMBERS, weights=None, **wanted):
    return decide_planned(admit(members, terms=TERMS), plan=make_plan(rule, **wanted), terms=TERMS, weights=weights)


def test_members_are_in_the_order_of_their_ids_whatever_order_they_come_in():
    assert admit(MEMBERS[::-1], terms=TERMS) == admit(MEMBERS, terms=TERMS)
    assert [member.update_id for member in admit(MEMBERS[::-1], terms=TERMS).members] == [m.update_id for m in MEMBERS]


def test_gated_updates_are_recorded_with_the_reason_and_are_no_members():
    admitted = admit([Member("u_far", 40.0, 5), *MEMBERS, Member("u_big", 9.0, 5)], terms=TERMS)
    assert [(out.update_id, out.reason) for out in admitted.gated] == [
        ("u_big", "norm 9 is more than 4 times the median norm 1.45"),
        ("u_far", "norm 40 is beyond the hard bound 10"),
    ]
    assert len(admitted.members) == 9


def test_fewer_than_the_quorum_behind_the_gate_are_not_combined():
    with pytest.raises(TooFewUpdatesError, match="9 of 10 staged updates pass the gate; the quorum is 10"):
        admit([*MEMBERS, Member("u_far", 40.0, 5)], terms=Terms(10.0, 50, quorum=10))


@pytest.mark.parametrize("bad", [Member("x", float("nan"), 1), Member("x", -1.0, 1), Member("x", 1.0, 0), MEMBERS[0]])
def test_a_member_that_ingest_cannot_have_staged_is_refused(bad):
    with pytest.raises(AggregationError):
        admit([*MEMBERS, bad], terms=TERMS)


def test_members_weigh_their_capped_examples():
    assert decided().weights == (1, 2, 3, 4, 5, 5, 5, 5, 5)


def test_weights_can_be_given_instead():
    weights = {member.update_id: 0.25 * (1 + i % 2) for i, member in enumerate(MEMBERS)}
    given = decided("weighted_mean", weights=weights | {"somebody_else": 7.0})
    assert given.shares == pytest.approx([(1 + i % 2) / 13 for i in range(9)], rel=1e-5)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_given_weights_that_are_not_positive_numbers_are_refused(bad):
    with pytest.raises(AggregationError, match="weights are finite and above 0"):
        decided(weights={member.update_id: 1.0 for member in MEMBERS} | {"u0003": bad})


def test_a_member_without_a_given_weight_is_refused():
    with pytest.raises(AggregationError, match="update u0001 has no weight"):
        decided(weights={"u0000": 1.0})


def test_f_is_a_fifth_of_what_is_behind_the_gate():
    members = [Member(f"u{i:04}", 1.0, 1) for i in range(14)] + [Member("u_far", 40.0, 5)]
    assert decided(members=members).planned.byzantine == 2


def test_too_few_members_for_the_rule_are_refused():
    with pytest.raises(ConditionError, match=r"median with f = 5 needs n >= 2f \+ 1, at least 11; there are 9"):
        decided(byzantine=5)


def test_a_rule_that_needs_distances_does_not_decide_without():
    with pytest.raises(AggregationError, match="no geometry was given"):
        decided("krum")


def test_a_geometry_of_other_rows_is_refused():
    rows = made_updates(4, 100)
    few = [Member(f"u{i:04}", 1.0, 1) for i in range(4)]
    geometry = Geometry.of(merged(measured(rows, few)), parameters=100)
    with pytest.raises(AggregationError, match="a geometry of 4 rows for 9 members"):
        decide_planned(admit(MEMBERS, terms=TERMS), plan=make_plan("krum"), terms=TERMS, geometry=geometry)


def test_shortened_rows_leave_less_mass():
    clipped = decided("weighted_mean", before=("norm_clip",), parameters={"clip_norm": 0.5})
    factors = [0.5 / member.norm for member in MEMBERS]
    weights = [min(member.examples, 50) for member in MEMBERS]
    mass = sum(f * w for f, w in zip(factors, weights, strict=True)) / sum(weights)
    assert clipped.planned.mass == pytest.approx(mass)
    assert clipped.divisor == pytest.approx(clipped.total_weight / mass)


def test_norms_behind_a_mixture_are_those_of_the_mixed_rows():
    rows = made_updates(9, 2000)
    plan = make_plan("weighted_mean", before=("nnm", "norm_clip"), byzantine=2, parameters={"clip_norm": 0.02})
    made = carry_out(plan, plain_rows(rows.astype(np.float64)))[0]
    assert np.allclose(np.linalg.norm(made.coefficients @ rows, axis=1), 0.02, rtol=1e-9)


def test_a_decision_says_whether_its_result_is_a_weighted_sum():
    assert decided("weighted_mean").is_linear
    assert not decided("median").is_linear


@pytest.fixture(scope="module")
def rows():
    return made_updates(12, 3000)


def asked(rule):
    return {"rule": rule, "byzantine": 1, "before": ("norm_clip", "nnm", "bucketing"), "parameters": {"seed": SEED}}


@pytest.mark.parametrize("rule", [name for name in RULES if name != "bulyan"])
@pytest.mark.parametrize("plain", [True, False])
def test_a_record_that_was_json_gives_the_decision_and_the_result_back(rows, rule, plain):
    wanted = {"rule": rule, "byzantine": 2} if plain else asked(rule)
    decision, result = carried_out(rows, examples=lambda row: 1 + row, **wanted)
    read = Decision.from_record(json.loads(json.dumps(decision.record())))
    assert read == decision
    assert read.digest == decision.digest
    (span,) = plan_shards(rows.shape[1])
    assert digest(whole(combine_range(span, read, opener(rows, decision.members)))) == digest(result)


def test_a_record_has_what_was_asked_for_and_floats_only_as_strings(rows):
    decision, _ = carried_out(rows, **asked("centered_clipping"))
    record = decision.record()
    assert record["parameters"] == {"radius": None, "steps": 3, "clip_norm": None, "bucket_size": 2, "seed": SEED}
    assert (record["v"], record["rule"], record["before"]) == (
        2,
        "centered_clipping",
        ["norm_clip", "nnm", "bucketing"],
    )
    assert "float" not in {type(leaf).__name__ for leaf in leaves(record)}


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, list) else [value]


@pytest.fixture(scope="module")
def record(rows):
    decision, _ = carried_out(rows, examples=lambda row: 1 + row, **asked("median"))
    return decision.record()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["v"], 3),
        (["rule"], "crum"),
        (["before"], ["nnm", "nnm"]),
        (["byzantine"], -1),
        (["parameters", "seed"], "00"),
        (["parameters", "clip_norm"], "many"),
        (["parameters", "bucket_size"], 0),
        (["bound"], "1e40"),
        (["members", 0, "weight"], -1),
        (["members", 0, "weight"], 2**20),
        (["members", 0, "norm"], "1e9"),
        (["members", 0, "update_id"], "u0001"),
        (["mass"], "0.0"),
        (["mass"], "1.5"),
        (["mass"], "nan"),
        (["mass"], "1.00"),
        (["rows", 0, "members"], "fffff"),
        (["rows", 0, "members"], "0"),
        (["rows", 0, "members"], "-1"),
        (["rows", 0, "members"], "no"),
        (["rows", 0, "mass"], "2.0"),
        (["rows", 0, "weight"], -1),
        (["rows", 0, "weight"], 2**20),
        (["rows", 0, "weights"], [1]),
        (["rows", 0, "weights", 0], 0),
        (["more"], 1),
    ],
    ids=str,
)
def test_a_record_that_cannot_be_is_refused(record, path, value):
    changed = copy.deepcopy(record)
    *before, last = path
    target = changed
    for step in before:
        target = target[step]
    target[last] = value
    with pytest.raises(AggregationError):
        Decision.from_record(changed)


def test_a_record_without_any_weight_is_refused(record):
    changed = copy.deepcopy(record)
    for member in changed["members"]:
        member["weight"] = 0
    with pytest.raises(AggregationError, match="weights cannot be"):
        Decision.from_record(changed)


def test_a_record_forgets_members_and_gated_ones_but_not_who_was_in():
    record = decided(members=[*MEMBERS, Member("u_far", 40.0, 5)]).record()
    forgotten = without_members(record, {"u0002", "u_far"})
    assert forgotten["members"][2] == record["members"][2] | {"norm": None, "examples": None}
    assert forgotten["gated"] == [{"update_id": "u_far", "norm": None, "reason": None}]
    assert [row["update_id"] for row in forgotten["members"]] == [member.update_id for member in MEMBERS]
    with pytest.raises(AggregationError):
        Decision.from_record(forgotten)


def test_members_that_the_result_does_not_need_are_not_opened(rows):
    decision, _ = carried_out(rows, rule="krum", byzantine=2)
    opened = set()

    def open_segment(member, segment, out):
        opened.add(member)
        opener(rows, decision.members)(member, segment, out)

    (span,) = plan_shards(rows.shape[1])
    list(combine_range(span, decision, open_segment))
    assert opened == {int(np.argmax(decision.weights))}


def test_bulyan_opens_only_what_it_has_picked():
    rows = made_updates(15, 2000)
    decision, _ = carried_out(rows, rule="bulyan", byzantine=2)
    opened = []

    def open_segment(member, segment, out):
        opened.append(member)
        opener(rows, decision.members)(member, segment, out)

    (span,) = plan_shards(rows.shape[1])
    list(combine_range(span, decision, open_segment))
    assert opened == [member for row in decision.planned.rows for member in row.members]
    assert len(opened) == 11


def test_a_staged_number_beyond_the_bound_stops_a_statistic():
    (span,) = plan_shards(10)
    with pytest.raises(AggregationError, match="beyond the bound"):
        list(combine_range(span, decided(), lambda _member, _segment, out: out.fill(11.0)))


def test_more_members_than_an_exact_product_holds_are_refused_when_decided_and_when_combined():
    with pytest.raises(ConditionError, match="at most 2048; there are 2049"):
        decided(members=[Member(f"u{i:05}", 1.0, 1) for i in range(2049)])
    with pytest.raises(AggregationError, match="at most 2048 members; got 2049"):
        Mixer(None, (1,) * 2049)


def test_one_hot_canaries_pass_a_statistic_as_what_they_are():
    rows = np.zeros((9, SEGMENT_PARAMETERS + 9), np.float32)
    np.fill_diagonal(rows[:, SEGMENT_PARAMETERS:], 1.0)
    _, mean = carried_out(rows, rule="trimmed_mean", byzantine=0)
    assert mean.tolist() == [0.0] * SEGMENT_PARAMETERS + [1 / 9] * 9
    _, trimmed = carried_out(rows, rule="trimmed_mean", byzantine=1)
    assert not trimmed.any()
