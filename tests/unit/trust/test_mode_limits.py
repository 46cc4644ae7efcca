import numpy as np
import pytest

from boltz_core.trust.evidence import Observation, judge_round
from boltz_core.trust.geometry_scores import geometry_scores
from boltz_core.trust.modes import ALLOWED, ModeLimitError, Use, require
from boltz_core.trust.outliers import judge_scores, norm_deviation
from boltz_core.trust.overrides import Override
from boltz_core.trust.standing import Standing, own_weight
from boltz_core.trust.weights import decide_weights

CLIENT = Standing("u1", trust=0.9, rounds=30, quality=0.5)
GRAM = np.eye(4)
COHORT_USES = {
    "evidence": lambda mode: judge_round([Observation("u1", 1.0)], mode=mode),
    "weights": lambda mode: decide_weights([CLIENT], np.eye(1), mode=mode),
    "geometry": lambda mode: geometry_scores(GRAM, malicious=1, mode=mode),
    "norms": lambda mode: norm_deviation(1.0, [1.0] * 20, mode=mode),
    "scores": lambda mode: judge_scores({}, {}, threshold=0.1, mode=mode),
}


def override(*, before_opening):
    return Override("scale", 0.5, "late updates", "op", before_opening=before_opening)


def standing(*, before_opening):
    return Standing("u1", 0.9, 30, 1.0, override=override(before_opening=before_opening))


@pytest.mark.parametrize("use", COHORT_USES)
@pytest.mark.parametrize("mode", ["private", "masked"])
def test_what_compares_updates_works_in_robust_rounds_only(use, mode):
    COHORT_USES[use]("robust")
    with pytest.raises(ModeLimitError, match=f"not in mode '{mode}'"):
        COHORT_USES[use](mode)


@pytest.mark.parametrize("use", sorted(set(Use) - ALLOWED["private"]))
def test_each_refusal_of_a_private_model_says_why(use):
    with pytest.raises(ModeLimitError) as refused:
        require("private", use)
    assert len(refused.value.message.split("; ", 1)[1].split()) > 7


def test_a_masked_model_sees_no_update_and_says_so():
    with pytest.raises(ModeLimitError, match="the server sees sums only"):
        require("masked", Use.OWN_WEIGHT)


@pytest.mark.parametrize("use", list(Use))
def test_a_robust_model_may_use_everything(use):
    require("robust", use)


def test_what_a_robust_model_may_not_no_other_may():
    assert ALLOWED["masked"] < ALLOWED["private"] < ALLOWED["robust"]


def test_a_private_weight_comes_from_the_client_and_a_constant():
    steps = own_weight(CLIENT, mode="private", w_max=0.4)
    assert [(step.name, step.weight) for step in steps] == [("trust", 1.0), ("quality", 0.5), ("w_max", 0.4)]


def test_a_private_weight_below_the_constant_is_g_times_q():
    assert own_weight(CLIENT, mode="private", w_max=2.0)[-1].weight == 0.5


def test_a_private_override_set_before_the_round_opened_counts():
    assert own_weight(standing(before_opening=True), mode="private", w_max=2.0)[-1].weight == 0.5


def test_a_private_override_set_after_the_round_opened_is_refused():
    with pytest.raises(ModeLimitError, match="may have seen updates"):
        own_weight(standing(before_opening=False), mode="private", w_max=2.0)


def test_a_robust_override_set_while_the_round_is_open_counts():
    assert own_weight(standing(before_opening=False), mode="robust", w_max=2.0)[-1].weight == 0.5


def test_the_server_weighs_nobody_in_a_masked_round():
    with pytest.raises(ModeLimitError, match="own weight"):
        own_weight(CLIENT, mode="masked", w_max=1.0)
