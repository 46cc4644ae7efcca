import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.trust.errors import TrustError
from boltz_core.trust.evidence import Observation, judge_round, judge_valid, violation
from boltz_core.trust.robust_scale import median

COSINES = [0.30, 0.34, 0.26, 0.38, 0.22]


def observations(cosines=COSINES, **last):
    found = [Observation(f"u{i}", 1.0, cosine) for i, cosine in enumerate(cosines)]
    return [*found, Observation("last", **{"norm": 1.0, "cosine": 0.3, **last})]


def judge_last(**last):
    return judge_round(observations(**last), mode="robust")[-1]


def test_a_typical_update_has_the_evidence_that_earns_a_whole_credit():
    found = judge_last()
    assert found.evidence == pytest.approx(0.8)
    assert (found.positive, found.negative) == (1.0, 0.0)


def test_a_direction_is_judged_against_the_round_by_its_robust_z_score():
    # median .28, MAD .06: -0.1 lies .38 / (1.4826 x .06) = 4.272 below
    found = judge_last(cosine=-0.1)
    assert found.direction.deviation == pytest.approx(-4.272, abs=0.001)
    assert found.evidence == pytest.approx(0.8 + 0.2 * (2 - 4.272), abs=0.001)


def test_cosines_closer_to_each_other_than_the_floor_are_judged_by_the_floor():
    # median .30, MAD .01: .1 lies .2 / (1.4826 x .05) = 2.698 below
    found = judge_round(observations([0.30, 0.31, 0.29, 0.30, 0.31], cosine=0.1), mode="robust")[-1]
    assert found.direction.deviation == pytest.approx(-2.698, abs=0.001)


def test_a_direction_closer_than_usual_earns_no_more():
    assert judge_last(cosine=1.0).evidence == pytest.approx(0.8)


def test_a_direction_far_off_has_evidence_zero():
    assert judge_last(cosine=-1.0).evidence == 0


def test_a_norm_of_four_medians_holds():
    assert judge_last(norm=4.0).evidence == pytest.approx(0.8)


def test_a_norm_above_four_medians_has_evidence_zero_and_says_so():
    found = judge_last(norm=5.1)
    assert (found.evidence, found.negative) == (0, 1)
    assert found.reasons[0] == "norm 5.1 x the median, more than 4 x"


def test_a_small_norm_is_not_held_against_anybody():
    assert judge_last(norm=1e-9).evidence == pytest.approx(0.8)


def test_updates_of_zeros_have_no_evidence_and_do_not_lower_the_median():
    zeros = [Observation(f"z{i}", 0.0) for i in range(9)]
    judged = judge_round([*observations(), *zeros], mode="robust")
    assert judged[-1].evidence is None
    assert judged[-1].reasons == ("an update of zeros says nothing",)
    assert judged[0].norm_ratio == pytest.approx(1)


def test_a_round_of_zeros_has_no_evidence_at_all():
    assert [one.evidence for one in judge_round([Observation("a", 0.0)], mode="robust")] == [None]


def test_evidence_that_does_not_exist_adds_nothing():
    (found,) = judge_round([Observation("a", 0.0)], mode="robust")
    assert (found.positive, found.negative) == (0, 0)


def test_two_clients_have_no_middle_to_be_far_from():
    judged = judge_round([Observation("a", 1.0, 0.9), Observation("b", 1.0, 0.9)], mode="robust")
    assert [one.evidence for one in judged] == [None, None]
    assert judged[0].reasons[1] == "too few others to compare directions"


def with_gains(last):
    found = [Observation(f"u{i}", 1.0, 0.3, gain) for i, gain in enumerate([0.02, 0.03, 0.01, 0.02])]
    return judge_round([*found, Observation("last", 1.0, 0.3, last)], mode="robust")[-1]


def test_a_held_out_gain_counts_with_the_direction_as_a_geometric_mean():
    # median .02, MAD .01: -.04 lies 4.047 below, so h = .8 - .2 x 2.047
    found = with_gains(-0.04)
    assert found.gain.factor == pytest.approx(0.3906, abs=0.0005)
    assert found.evidence == pytest.approx(math.sqrt(0.8 * found.gain.factor))
    assert "held-out gain -0.04" in found.reasons[2]


def test_a_typical_gain_leaves_the_evidence_as_it_is():
    assert with_gains(0.03).evidence == pytest.approx(0.8)


@pytest.mark.parametrize("gain", [-5.0, -math.inf])
def test_an_update_that_ruins_the_model_has_evidence_zero(gain):
    found = with_gains(gain)
    assert (found.gain.value, found.evidence) == (-1.0, 0)


def test_gains_count_where_there_are_no_directions():
    judged = judge_round([Observation(f"u{i}", 1.0, None, 0.02) for i in range(3)], mode="robust")
    assert [one.evidence for one in judged] == pytest.approx([0.8] * 3)


def test_a_violation_is_evidence_zero_with_its_reason():
    found = violation("u1", "the norm is 12; at most 10 is allowed")
    assert (found.valid, found.evidence, found.negative) == (False, 0.0, 1.0)
    assert found.reasons == ("refused: the norm is 12; at most 10 is allowed",)


def test_being_accepted_alone_is_no_evidence():
    assert judge_valid("u1").evidence is None


def test_the_reason_for_a_direction_has_its_numbers():
    assert judge_last(cosine=-0.1).reasons[1] == (
        "cosine -0.1, 4.3 robust deviations below the round's median 0.28: 0.35"
    )


def test_near_convergence_cosines_around_zero_are_as_good_as_any():
    judged = judge_round(observations([-0.1, -0.02, 0.05, -0.07, 0.0], cosine=-0.05), mode="robust")
    assert min(one.evidence for one in judged) == pytest.approx(0.8)


def test_numbers_of_one_half_cannot_make_honest_evidence_bad():
    honest = [Observation(f"h{i}", 1.0, 0.2 + 0.01 * i) for i in range(6)]
    liars = [Observation(f"l{i}", 1e6, 1.0) for i in range(5)]
    assert min(one.evidence for one in judge_round([*honest, *liars], mode="robust")[:6]) >= 0.5


@given(st.permutations(range(6)))
def test_permuting_the_clients_changes_no_number(order):
    given_order = observations(norm=2.0)
    judged = judge_round(given_order, mode="robust")
    assert judge_round([given_order[i] for i in order], mode="robust") == tuple(judged[i] for i in order)


@given(
    st.lists(st.tuples(st.floats(1e-9, 1e9), st.none() | st.floats(-1, 1), st.none() | st.floats(-1, 1)), max_size=9)
)
def test_evidence_lies_in_zero_to_one(values):
    judged = judge_round([Observation(f"u{i}", *value) for i, value in enumerate(values)], mode="robust")
    assert all(one.evidence is None or 0 <= one.evidence <= 1 for one in judged)


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({"norm": -1.0}, "norm -1.0 is not"),
        ({"norm": math.nan}, "norm nan is not"),
        ({"norm": math.inf}, "norm inf is not"),
        ({"cosine": 1.5}, "cosine of last is 1.5"),
        ({"cosine": math.nan}, "cosine of last is nan"),
        ({"gain": 1.5}, "gain of last is 1.5"),
        ({"gain": math.nan}, "gain of last is nan"),
    ],
)
def test_numbers_that_cannot_have_been_measured_are_refused(last, message):
    with pytest.raises(TrustError, match=message):
        judge_last(**last)


def test_an_update_listed_twice_is_refused():
    with pytest.raises(TrustError, match="listed twice"):
        judge_round([Observation("a", 1.0), Observation("a", 1.0)], mode="robust")


@pytest.mark.parametrize(("values", "middle"), [([3.0], 3.0), ([3.0, 1.0], 2.0), ([9.0, 1.0, 2.0], 2.0)])
def test_the_median_is_the_middle_or_the_mean_of_two(values, middle):
    assert median(values) == middle
