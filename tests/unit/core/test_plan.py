import pytest

from boltz_core.aggregation.errors import ConditionError
from boltz_core.aggregation.plan import check_conditions, check_policy_conditions, make_plan
from boltz_core.aggregation.rules.parameters import PlanError
from boltz_core.aggregation.rules.registry import RULES, STEPS
from boltz_core.rounds.policy import PolicyError

SEED = "0F" * 32


def test_parameters_that_are_not_given_have_their_defaults():
    plan = make_plan("centered_clipping", before=("norm_clip", "bucketing"), parameters={"seed": SEED, "steps": 5})
    assert dict(plan.parameters) == {
        "radius": None,
        "steps": 5,
        "clip_norm": None,
        "bucket_size": 2,
        "seed": SEED.lower(),
    }


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rule": "crum"}, "there is no rule 'crum'; there are weighted_mean, median, .*centered_clipping"),
        ({"rule": "krum", "before": ("nmm",)}, "nothing named 'nmm' .*; there are norm_clip, nnm, bucketing"),
        ({"rule": "krum", "before": ("nnm", "nnm")}, "twice: nnm, nnm"),
        ({"rule": "krum", "parameters": {"neighbors": 3}}, "krum has no parameter 'neighbors'; it has neighbours"),
        ({"rule": "median", "parameters": {"f": 3}}, "median has no parameter 'f'; it has none"),
        (
            {"rule": "median", "before": ("norm_clip",), "parameters": {"f": 3}},
            "median after norm_clip .* it has clip_norm",
        ),
        ({"rule": "krum", "byzantine": -1}, "byzantine is -1"),
        ({"rule": "krum", "byzantine": 1.5}, "byzantine is 1.5"),
        ({"rule": "krum", "byzantine": True}, "byzantine is True"),
        ({"rule": "krum", "parameters": {"neighbours": 0}}, "neighbours is 0; it must be from 1 to 2048"),
        ({"rule": "krum", "parameters": {"neighbours": 2.5}}, "neighbours is 2.5; it must be a whole number"),
        ({"rule": "krum", "parameters": {"neighbours": True}}, "neighbours is True; it must be a whole number"),
        ({"rule": "centered_clipping", "parameters": {"radius": float("nan")}}, "radius is nan; it must be from"),
        ({"rule": "centered_clipping", "parameters": {"radius": "3"}}, "radius is '3'; it must be a number"),
        ({"rule": "centered_clipping", "parameters": {"steps": None}}, "steps is None; it must be a whole number"),
        ({"rule": "median", "before": ("bucketing",)}, "seed must be given, as 64 hexadecimal digits"),
        ({"rule": "median", "before": ("bucketing",), "parameters": {"seed": "0x" * 32}}, "seed must be given"),
        ({"rule": "median", "before": ("bucketing",), "parameters": {"seed": SEED + "0"}}, "seed must be given"),
    ],
    ids=str,
)
def test_what_does_not_exist_or_cannot_be_is_refused_by_name(asked, message):
    with pytest.raises(PlanError, match=message) as refusal:
        make_plan(asked.pop("rule"), **asked)
    assert isinstance(refusal.value, PolicyError)


@pytest.mark.parametrize(("members", "f"), [(4, 0), (5, 1), (19, 3), (100, 20)])
def test_f_is_a_fifth_of_the_members_if_it_is_left_out(members, f):
    assert make_plan("krum").byzantine_of(members) == f
    assert make_plan("krum", byzantine=2).byzantine_of(members) == 2


def test_buckets_count_as_the_rows_of_the_rule_behind_them():
    plan = make_plan("krum", byzantine=1, before=("bucketing",), parameters={"seed": SEED, "bucket_size": 3})
    check_conditions(plan, 13)
    with pytest.raises(ConditionError, match="needs n >= 2f \\+ 3, at least 5; there are 4 rows, made of 12 updates"):
        check_conditions(plan, 12)


def test_a_policy_is_refused_if_some_number_of_updates_breaks_the_condition():
    check_policy_conditions(make_plan("bulyan", byzantine=2), quorum=11, target=1000)
    with pytest.raises(
        PlanError, match=r"a round of 10 updates could not .*bulyan with f = 2 needs n >= 4f \+ 3, at least 11"
    ):
        check_policy_conditions(make_plan("bulyan", byzantine=2), quorum=10, target=1000)


def test_a_condition_that_fails_only_for_many_updates_is_found_when_the_policy_is_written():
    plan = make_plan("median", before=("bucketing",), parameters={"seed": SEED, "bucket_size": 3})
    check_policy_conditions(plan, quorum=1, target=4)
    with pytest.raises(PlanError, match="a round of 5 updates"):
        check_policy_conditions(plan, quorum=1, target=100)


@pytest.mark.parametrize(
    ("rule", "before", "needed"),
    [
        ("weighted_mean", (), False),
        ("trimmed_mean", ("norm_clip",), False),
        ("median", ("bucketing", "norm_clip"), True),
        ("median", ("nnm",), True),
        ("krum", (), True),
    ],
)
def test_distances_are_measured_only_where_they_decide(rule, before, needed):
    parameters = {"seed": SEED} if "bucketing" in before else {}
    assert make_plan(rule, before=before, parameters=parameters).needs_geometry is needed


def test_only_the_weighted_mean_by_itself_is_plain():
    assert make_plan("weighted_mean").is_plain
    assert not make_plan("weighted_mean", before=("nnm",)).is_plain
    assert not make_plan("median").is_plain


def test_no_two_parts_of_a_plan_share_the_name_of_a_parameter():
    of_steps = [parameter.name for step in STEPS.values() for parameter in step.parameters]
    for rule in RULES.values():
        names = [*of_steps, *(parameter.name for parameter in rule.parameters)]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("rule", "before", "most"),
    [
        ("weighted_mean", (), None),
        ("weighted_mean", ("norm_clip",), None),
        ("weighted_mean", ("nnm",), 2048),
        ("median", (), 2048),
        ("geometric_median", (), 2048),
    ],
)
def test_what_looks_at_all_updates_at_once_takes_as_many_as_the_engine_can(rule, before, most):
    plan = make_plan(rule, before=before, byzantine=0)
    assert plan.most_members == most
    if most is None:
        check_policy_conditions(plan, quorum=99_000, target=100_000)
        return
    check_conditions(plan, most)
    with pytest.raises(ConditionError, match="at most 2048; there are 2049"):
        check_conditions(plan, most + 1)
    check_policy_conditions(plan, quorum=1000, target=1024)
    with pytest.raises(PlanError, match="the target is 1025; it must be at most 1024"):
        check_policy_conditions(plan, quorum=1000, target=1025)
