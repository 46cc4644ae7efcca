import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.trust.errors import TrustError
from boltz_core.trust.outliers import IN_WORDS, Score, judge_scores, norm_deviation, p_value, share_distance

HISTORY = [float(i) for i in range(199)]


def judge(values, history=None, *, threshold=0.05, **others):
    known = dict.fromkeys(Score, HISTORY) if history is None else history
    return judge_scores(values, known, threshold=threshold, mode="robust", **others)


def test_the_norm_is_measured_in_robust_deviations_of_its_logarithm():
    recent = [math.exp(value) for value in [-2.0, -1.0, 0.0, 1.0, 2.0] * 4]
    assert norm_deviation(math.exp(3), recent, mode="robust") == pytest.approx(3 / 1.4826)


def test_only_the_last_two_hundred_norms_count():
    recent = [1e9] * 1000 + [math.exp(value) for value in [-2.0, -1.0, 0.0, 1.0, 2.0] * 40]
    assert norm_deviation(1.0, recent, mode="robust") == pytest.approx(0)


def test_norms_that_hardly_differ_are_measured_by_the_floor():
    assert norm_deviation(1.01, [1.0] * 20, mode="robust") == pytest.approx(math.log(1.01) / 0.014826)


@pytest.mark.parametrize(("norm", "recent"), [(0.0, [1.0] * 20), (1.0, [1.0] * 9), (1.0, [0.0] * 50)])
def test_without_a_norm_or_enough_of_them_there_is_no_deviation(norm, recent):
    assert norm_deviation(norm, recent, mode="robust") is None


def test_shares_differ_by_what_would_have_to_move():
    assert share_distance((0.5, 0.5, 0.0), (0.25, 0.25, 0.5)) == pytest.approx(0.5)


def test_shares_of_different_layouts_are_not_compared():
    with pytest.raises(TrustError, match="cannot be compared"):
        share_distance((1.0,), (0.5, 0.5))


@pytest.mark.parametrize(
    ("value", "two_sided", "expected"),
    [
        (500.0, False, 1 / 200),
        (198.0, False, 2 / 200),
        (-5.0, False, 1.0),
        (500.0, True, 2 / 200),
        (-5.0, True, 2 / 200),
        (99.0, True, 1.0),
        (math.inf, False, 1 / 200),
    ],
)
def test_a_p_value_is_the_smoothed_share_of_what_was_as_extreme(value, two_sided, expected):
    assert p_value(value, HISTORY, two_sided=two_sided) == pytest.approx(expected)


def test_without_history_everything_is_ordinary():
    assert p_value(1e9, [], two_sided=False) == 1.0


def test_values_that_are_all_the_same_are_ordinary():
    assert p_value(1.0, [1.0] * 50, two_sided=True) == 1.0


def test_the_smallest_p_value_counts_times_the_number_of_scores():
    found = judge({Score.KRUM: 500.0, Score.SIGNS: 100.0, Score.OWN_COSINE: 99.0})
    assert found.p_value == pytest.approx(3 / 200)


def test_the_decision_names_what_mattered_the_worst_first():
    found = judge({Score.KRUM: 197.0, Score.SIGNS: 500.0, Score.CLOSEST_COSINE: 3.0})
    assert found.suspicious
    assert found.mattered == (
        f"{IN_WORDS[Score.SIGNS]}: 500, as extreme as 0.50% of 199 accepted updates",
        f"{IN_WORDS[Score.KRUM]}: 197, as extreme as 1.50% of 199 accepted updates",
    )


def test_a_score_that_is_unusual_but_not_enough_holds_nothing():
    found = judge({Score.KRUM: 194.0, Score.SIGNS: 3.0})
    assert (found.suspicious, found.mattered, found.p_value) == (False, (), pytest.approx(0.06))


def test_one_score_can_be_more_typical_than_any_honest_one_and_another_still_speaks():
    found = judge({Score.KRUM: -1.0, Score.CENTRE_DISTANCE: -1.0, Score.CLOSEST_COSINE: 500.0})
    assert [one.split(":")[0] for one in found.mattered] == [IN_WORDS[Score.CLOSEST_COSINE]]


@pytest.mark.parametrize("score", [Score.STEP_COSINE, Score.OWN_COSINE, Score.NORM])
def test_directions_and_norms_are_suspicious_on_both_sides(score):
    assert judge({score: -500.0}).suspicious
    assert judge({score: 500.0}).suspicious


def test_distances_are_suspicious_when_large_only():
    assert not judge({Score.KRUM: -500.0}).suspicious


def test_a_short_history_finds_nothing_and_says_so():
    found = judge({Score.KRUM: 1e9, Score.OWN_COSINE: 0.0}, {Score.KRUM: [1.0] * 20, Score.OWN_COSINE: [0.0] * 20})
    assert (found.suspicious, found.smallest_possible) == (False, pytest.approx(2 / 21))


def test_a_score_without_history_makes_nothing_suspicious():
    assert judge({Score.KRUM: 1e9}, {}).p_value == 1.0


def test_the_same_bytes_are_suspicious_whatever_the_scores_are():
    found = judge({Score.KRUM: 3.0}, duplicate_of="u7")
    assert (found.suspicious, found.mattered) == (True, ("the same bytes as update u7",))


def test_an_update_without_scores_is_not_suspicious():
    found = judge({})
    assert (found.p_value, found.smallest_possible, found.suspicious) == (1.0, 1.0, False)


def test_the_policy_decides_how_unusual_is_too_unusual():
    values = {Score.KRUM: 196.0}
    assert [judge(values, threshold=threshold).suspicious for threshold in (0.01, 0.02)] == [False, True]


def test_every_score_can_be_said_in_words():
    assert set(IN_WORDS) == set(Score)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan])
def test_a_threshold_that_is_no_share_is_refused(threshold):
    with pytest.raises(TrustError, match="threshold"):
        judge({}, threshold=threshold)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(TrustError, match="not a number"):
        judge({Score.KRUM: math.nan})


def test_honest_updates_are_held_no_more_often_than_the_threshold_says():
    random = np.random.default_rng(2)
    history = {score: random.normal(size=999).tolist() for score in Score}
    held = sum(
        judge({score: float(random.normal()) for score in Score}, history, threshold=0.1).suspicious for _ in range(400)
    )
    assert 0 < held <= 400 * 0.1 + 2 * math.sqrt(400 * 0.1 * 0.9)


@given(st.lists(st.floats(-10, 10), max_size=40), st.floats(-20, 20), st.booleans())
def test_a_p_value_is_above_zero_and_at_most_one(history, value, two_sided):
    assert 0 < p_value(value, sorted(history), two_sided=two_sided) <= 1
