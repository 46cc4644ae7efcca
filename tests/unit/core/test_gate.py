import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.rounds.gate import GateError, check_gate, passes
from boltz_protocol.messages import TaskSpec
from boltz_protocol.tasks import METRICS

scores = st.floats(-1e6, 1e6)


def task(kind="linear"):
    return TaskSpec(
        kind=kind,
        features=("a",),
        center=(0.0,),
        scale=(1.0,),
        clip=None,
        target="y",
        metric="mse",
        hidden=(),
        activation="relu",
    )


@pytest.mark.parametrize(
    ("metric", "candidate", "passed"),
    [
        ("mse", 1.5, True),
        ("mse", 1.51, False),
        ("mse", 0.1, True),
        ("mae", 1.5, True),
        ("mae", 1.51, False),
        ("r2", 0.5, True),
        ("r2", 0.49, False),
        ("r2", 5.0, True),
    ],
)
def test_a_candidate_may_be_worse_by_the_margin_and_no_more(metric, candidate, passed):
    assert passes(metric, candidate=candidate, current=1.0, margin=0.5) is passed


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("metric", METRICS)
def test_a_candidate_whose_score_is_not_finite_never_passes(metric, score):
    assert not passes(metric, candidate=score, current=1.0, margin=1e300)
    assert not passes(metric, candidate=score, current=score, margin=1e300)


@pytest.mark.parametrize("metric", METRICS)
def test_any_finite_score_is_better_than_one_that_is_not(metric):
    assert passes(metric, candidate=1e9, current=math.nan, margin=0.0)


@given(metric=st.sampled_from(METRICS), candidate=scores, current=scores, margin=st.floats(0, 1e6))
def test_of_two_versions_at_least_one_may_follow_the_other(metric, candidate, current, margin):
    forth = passes(metric, candidate=candidate, current=current, margin=margin)
    back = passes(metric, candidate=current, current=candidate, margin=margin)
    assert forth or back


@pytest.mark.parametrize("metric", METRICS)
def test_a_gate_of_any_metric_and_margin_can_be_kept(metric):
    check_gate(task(), metric=metric, margin=0.0)


@pytest.mark.parametrize(
    ("kind", "metric", "margin", "why"),
    [
        ("custom", "mse", 0.0, "computed by its participants alone"),
        ("linear", "accuracy", 0.0, "'accuracy' is none of mse, mae, r2"),
        ("linear", "mse", -0.1, "-0.1; it must be a number from 0 on"),
        ("linear", "mse", math.nan, "nan; it must be"),
        ("linear", "mse", math.inf, "inf; it must be"),
    ],
)
def test_a_gate_that_cannot_be_kept_is_refused(kind, metric, margin, why):
    with pytest.raises(GateError, match=why) as refusal:
        check_gate(task(kind), metric=metric, margin=margin)
    assert refusal.value.code == "invalid_gate"
