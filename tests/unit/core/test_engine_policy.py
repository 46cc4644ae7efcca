"""What a policy says of rules, steps and optimizers is checked when it is written."""

import re

import pytest
from msgspec import structs

from boltz_core.aggregation.policy import NO_SEED, check_round_policy, optimizer_of, plan_of
from boltz_core.aggregation.rules.registry import RULES
from boltz_core.aggregation.server_optimizer import OPTIMIZERS, make_optimizer, state_layout
from boltz_core.rounds.policy import PolicyError
from tests.unit.core.made_rows import policy

GOOD = policy(rule="trimmed_mean", quorum=11, target=100, byzantine=2)


def changed(**fields):
    return structs.replace(GOOD, **fields)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_can_be_in_a_policy_that_keeps_its_condition(rule):
    check_round_policy(changed(rule=rule))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_can_be_in_a_policy(optimizer):
    check_round_policy(changed(optimizer=optimizer))
    assert optimizer_of(changed(optimizer=optimizer)).kind.name == optimizer


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"mode": "masked"}, "mode_not_available", "masked"),
        ({"rule": "mean"}, "rule_not_available", "there is no rule 'mean'; there are weighted_mean"),
        ({"before": ("krum",)}, "rule_not_available", "nothing named 'krum' can stand before a rule"),
        ({"before": ("nnm", "nnm")}, "invalid_policy", "twice"),
        ({"byzantine": 6}, "invalid_policy", "at least 13; there are 11"),
        ({"rule": "bulyan", "quorum": 10}, "invalid_policy", "at least 11; there are 10"),
        ({"rule": "multi_krum", "parameters": {"selected": 2.5}}, "invalid_policy", "whole number"),
        ({"parameters": {"selected": 2.0}}, "invalid_policy", "no parameter 'selected'"),
        ({"optimizer": "sgd"}, "invalid_policy", "there is no optimizer 'sgd'"),
        ({"optimizer": "adam", "optimizer_parameters": {"beta1": 1.0}}, "invalid_policy", "beta1 is 1.0"),
        ({"optimizer_parameters": {"tau": 1.0}}, "invalid_policy", "none has no parameter 'tau'"),
    ],
)
def test_what_could_not_be_kept_is_refused_by_name(fields, code, said):
    with pytest.raises(PolicyError, match=re.escape(said)) as refusal:
        check_round_policy(changed(**fields))
    assert refusal.value.code == code


def test_whole_parameters_may_be_spelled_as_json_spells_numbers():
    plan = plan_of(changed(rule="multi_krum", parameters={"selected": 4.0}))
    assert plan.parameters["selected"] == 4
    assert plan_of(changed(before=("norm_clip",), parameters={"clip_norm": 2.0})).parameters["clip_norm"] == 2.0


def test_a_seed_is_put_where_a_step_draws_something():
    drawing = changed(before=("bucketing",), rule="median")
    assert plan_of(drawing).parameters["seed"] == NO_SEED
    assert plan_of(drawing, seed="ab" * 32).parameters["seed"] == "ab" * 32
    assert "seed" not in plan_of(GOOD).parameters


def test_f_of_a_policy_that_leaves_it_open_is_a_fifth():
    plan = plan_of(changed(byzantine=None))
    assert [plan.byzantine_of(members) for members in (4, 5, 14, 100)] == [0, 1, 2, 20]


def test_state_is_stored_one_tensor_for_each_vector():
    assert state_layout(make_optimizer("none"), 7) is None
    assert [(spec.name, spec.shape) for spec in state_layout(make_optimizer("yogi"), 7).specs] == [
        ("first_moment", (7,)),
        ("second_moment", (7,)),
    ]
