import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.trust.errors import TrustError
from boltz_core.trust.reputation import (
    CREDIT_DECAY,
    DEBT_DECAY,
    NEGLIGIBLE,
    Reputation,
    TrustEvent,
    after_idle,
    fold,
    negative_part,
    positive_part,
    record,
    trust_score,
)

evidence = st.none() | st.floats(0, 1)
events = st.lists(
    st.builds(TrustEvent, st.integers(1, 200), evidence, st.booleans()),
    unique_by=lambda event: event.round_number,
    max_size=30,
)


@pytest.mark.parametrize(("factor", "rounds"), [(CREDIT_DECAY, 30), (DEBT_DECAY, 90)])
def test_the_decay_constants_are_the_nearest_numbers_to_their_half_lives(factor, rounds):
    distances = [
        abs(Fraction(near) ** rounds - Fraction(1, 2))
        for near in (math.nextafter(factor, 0), factor, math.nextafter(factor, 1))
    ]
    assert min(distances) == distances[1]


@pytest.mark.parametrize(
    ("value", "positive", "negative"),
    [(0.0, 0, 1), (0.2, 0, 0.5), (0.4, 0, 0), (0.5, 0, 0), (0.65, 0.5, 0), (0.8, 1, 0), (1.0, 1, 0)],
)
def test_evidence_is_split_into_good_and_bad(value, positive, negative):
    assert positive_part(value) == pytest.approx(positive)
    assert negative_part(value) == pytest.approx(negative)


def test_a_round_taken_part_in_decays_both_sums_before_it_adds():
    before = Reputation(credit=8.0, debt=4.0, rounds=3, last_round=3)
    assert record(before, TrustEvent(4, 0.2)) == Reputation(8.0 * CREDIT_DECAY, 4.0 * DEBT_DECAY + 1.5, 4, 4)


def test_rounds_missed_before_an_event_decay_the_credit_only():
    before = Reputation(credit=8.0, debt=4.0, rounds=3, last_round=3)
    after = record(before, TrustEvent(6, 0.45))
    assert after == Reputation(8.0 * CREDIT_DECAY * CREDIT_DECAY * CREDIT_DECAY, 4.0 * DEBT_DECAY, 4, 6)


def test_a_hard_violation_adds_ten_and_the_debt_of_evidence_zero():
    assert record(Reputation(), TrustEvent(1, None, hard_violation=True)).debt == 13


def test_good_evidence_beside_a_hard_violation_does_not_count():
    assert record(Reputation(), TrustEvent(1, 0.9, hard_violation=True)).credit == 0


def test_a_round_without_evidence_clears_no_debt():
    before = Reputation(debt=5.0, rounds=1, last_round=1)
    assert record(before, TrustEvent(2, None)) == Reputation(debt=5.0, rounds=1, last_round=2)


def test_a_round_counts_once():
    after = record(Reputation(), TrustEvent(3, 0.9))
    with pytest.raises(TrustError, match="round 3 comes after round 3"):
        record(after, TrustEvent(3, 0.9))


def test_an_event_given_twice_counts_once():
    assert fold([TrustEvent(1, 0.9), TrustEvent(2, 0.7), TrustEvent(1, 0.9)]) == fold(
        [TrustEvent(1, 0.9), TrustEvent(2, 0.7)]
    )


def test_two_events_of_a_round_that_differ_are_refused():
    with pytest.raises(TrustError, match="round 1 has two events that differ"):
        fold([TrustEvent(1, 0.9), TrustEvent(1, 0.8)])


def test_a_fold_does_not_end_before_its_last_event():
    with pytest.raises(TrustError, match="round 4 is over"):
        fold([TrustEvent(5, 0.9)], through_round=4)


@pytest.mark.parametrize("number", [0, -3])
def test_a_round_below_one_is_refused(number):
    with pytest.raises(TrustError, match="counted from 1"):
        TrustEvent(number, 0.5)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_evidence_outside_zero_to_one_is_refused(value):
    with pytest.raises(TrustError, match="from 0 to 1"):
        TrustEvent(1, value)


def test_credit_ends_at_zero_after_any_number_of_rounds():
    assert after_idle(Reputation(credit=40.0), through_round=10**12).credit == 0


def test_credit_is_kept_while_it_is_not_negligible():
    assert after_idle(Reputation(credit=NEGLIGIBLE * 1.1), through_round=1).credit > NEGLIGIBLE


@given(events)
def test_events_folded_as_they_come_and_all_again_give_the_same_bits(given_events):
    ordered = sorted(given_events, key=lambda event: event.round_number)
    step_by_step = Reputation()
    for event in ordered:
        step_by_step = record(step_by_step, event)
    assert fold(given_events) == step_by_step


@given(events, st.integers(200, 240), st.integers(240, 300))
def test_rounds_that_pass_in_parts_give_the_same_bits_as_at_once(given_events, between, end):
    in_parts = after_idle(fold(given_events, through_round=between), through_round=end)
    assert in_parts == fold(given_events, through_round=end)


@given(events, st.randoms())
def test_the_order_in_which_events_are_given_changes_nothing(given_events, random):
    shuffled = list(given_events)
    random.shuffle(shuffled)
    assert fold(shuffled) == fold(given_events)


@given(events)
def test_trust_stays_below_one_and_not_below_zero(given_events):
    assert 0 <= trust_score(fold(given_events)) < 1


@given(events, st.integers(200, 400), st.integers(0, 100))
def test_idle_rounds_never_raise_trust(given_events, end, more):
    sooner, later = fold(given_events, through_round=end), fold(given_events, through_round=end + more)
    assert trust_score(later) <= trust_score(sooner) + 1e-15
    assert later.debt == sooner.debt


@given(events, st.integers(0, 29), st.floats(0, 1), st.floats(0, 1))
def test_more_evidence_in_a_round_never_lowers_trust(given_events, place, low, high):
    low, high = sorted((low, high))
    others = [event for event in given_events if event.round_number != place + 1]
    scores = [trust_score(fold([*others, TrustEvent(place + 1, value)], through_round=200)) for value in (low, high)]
    assert scores[0] <= scores[1] + 1e-15


@given(events)
def test_a_hard_violation_never_raises_trust(given_events):
    before = fold(given_events, through_round=200)
    after = record(before, TrustEvent(201, None, hard_violation=True))
    idle = after_idle(before, through_round=201)
    assert trust_score(after) <= trust_score(idle) + 1e-15
