import math

import msgspec
import pytest

from boltz_core.rounds.policy import MAX_TARGET, PolicyError, check_policy
from boltz_protocol.messages import RoundPolicy

GOOD = RoundPolicy(
    mode="robust",
    rule="weighted_mean",
    max_norm=10.0,
    quorum=2,
    target=12,
    example_cap=10_000,
    round_seconds=21_600,
    replay_window_days=30,
)


def changed(**fields):
    return msgspec.structs.replace(GOOD, **fields)


@pytest.mark.parametrize(
    "policy",
    [
        GOOD,
        changed(quorum=12),
        changed(max_norm=1e-30),
        changed(max_norm=1e30),
        changed(target=MAX_TARGET),
        changed(replay_window_days=0),
        changed(quorum=1, target=1, example_cap=1, round_seconds=1),
    ],
)
def test_a_policy_within_the_bounds_passes(policy):
    check_policy(policy)


@pytest.mark.parametrize("mode", ["private", "masked"])
def test_a_mode_that_does_not_exist_yet_is_refused_by_name(mode):
    with pytest.raises(PolicyError, match=mode) as refusal:
        check_policy(changed(mode=mode))
    assert refusal.value.code == "mode_not_available"


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan, math.inf, 9e-31, 1.1e30])
def test_a_hard_bound_that_is_no_usable_norm_is_refused(max_norm):
    with pytest.raises(PolicyError, match="max_norm") as refusal:
        check_policy(changed(max_norm=max_norm))
    assert refusal.value.code == "invalid_policy"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quorum", 0),
        ("quorum", -1),
        ("target", 0),
        ("target", MAX_TARGET + 1),
        ("example_cap", 0),
        ("example_cap", 2**53),
        ("round_seconds", 0),
        ("round_seconds", 10**9),
        ("replay_window_days", -1),
        ("replay_window_days", 10**6),
    ],
)
def test_a_number_out_of_bounds_is_refused_with_the_name_of_its_field(field, value):
    with pytest.raises(PolicyError, match=field):
        check_policy(changed(**{field: value}))


def test_a_quorum_above_the_target_is_refused():
    with pytest.raises(PolicyError, match="quorum 13 is above the target 12"):
        check_policy(changed(quorum=13))
