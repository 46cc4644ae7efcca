import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.trust.caps import NEWCOMERS, ORGANISATIONS, cap_groups, water_level

NOBODY = None
members = st.lists(
    st.tuples(st.floats(0.01, 1), st.booleans(), st.sampled_from([None, "a", "b", "c", "d", "e", "f", "g"])),
    min_size=1,
    max_size=40,
)


def capped(rows):
    weights, newcomers, organisations = zip(*rows, strict=True)
    return cap_groups(weights, newcomers=newcomers, organisations=organisations)


def shares(rows):
    found = capped(rows).weights
    return [weight / math.fsum(found) for weight in found]


def held_by(organisation, rows):
    return sum(share for share, row in zip(shares(rows), rows, strict=True) if row[2] == organisation)


def test_weights_that_keep_the_caps_are_left_alone():
    rows = [(1.0, False, None)] * 20
    found = capped(rows)
    assert (found.weights, found.not_held) == ((1.0,) * 20, ())


def test_newcomers_together_hold_a_tenth():
    rows = [(1.0, False, None)] * 20 + [(0.5, True, None)] * 20
    assert sum(shares(rows)[20:]) == pytest.approx(0.1)
    assert capped(rows).not_held == ()


def test_newcomers_who_hold_less_than_a_tenth_are_left_alone():
    rows = [(1.0, False, None)] * 20 + [(0.05, True, None)] * 20
    assert capped(rows).weights[-1] == 0.05


@pytest.mark.parametrize("clients", [5, 50, 500])
def test_an_organisation_holds_a_fifth_however_many_clients_it_adds(clients):
    rows = [(1.0, False, None)] * 10 + [(1.0, False, "big")] * clients
    assert held_by("big", rows) == pytest.approx(0.2)


def test_two_large_organisations_hold_a_fifth_each():
    rows = [(1.0, False, None)] * 10 + [(1.0, False, "big")] * 40 + [(0.5, False, "large")] * 30
    assert [held_by(name, rows) for name in ("big", "large")] == pytest.approx([0.2, 0.2])


def test_clients_of_no_organisation_are_not_one():
    rows = [(1.0, False, None)] * 6
    assert capped(rows).not_held == ()


def test_both_caps_hold_together():
    rows = [(1.0, False, None)] * 6 + [(1.0, False, "big")] * 30 + [(0.3, True, None)] * 20
    assert sum(shares(rows)[-20:]) == pytest.approx(0.1)
    assert held_by("big", rows) == pytest.approx(0.2)


def test_where_everybody_is_new_the_cap_on_newcomers_cannot_hold():
    found = capped([(0.05, True, None)] * 12)
    assert found.not_held == (NEWCOMERS,)
    assert len(set(found.weights)) == 1


def test_two_organisations_cannot_hold_a_fifth_each_and_count_alike():
    rows = [(1.0, False, "a")] * 15 + [(1.0, False, "b")] * 5
    assert capped(rows).not_held == (ORGANISATIONS,)
    assert held_by("a", rows) == pytest.approx(0.5)


def test_a_flood_of_clients_gains_nothing_from_a_cap_that_cannot_hold():
    rows = [(1.0, False, name) for name in "abc"] + [(1.0, False, "flood")] * 1000
    assert held_by("flood", rows) == pytest.approx(0.25)


def test_a_client_of_little_trust_does_not_inherit_the_round():
    # Four organisations and one of little trust: a fifth each would lift it from a hundredth to a fifth.
    rows = [(1.0, False, name) for name in "abcd"] + [(0.05, False, "e")]
    assert held_by("e", rows) == pytest.approx(0.05 / 4.05)


def test_the_factors_explain_the_weights():
    rows = [(1.0, False, None)] * 6 + [(1.0, False, "big")] * 30 + [(0.3, True, "big")] * 20
    found = capped(rows)
    explained = [
        row[0] * newcomer * organisation
        for row, newcomer, organisation in zip(rows, found.newcomer_factors, found.organisation_factors, strict=True)
    ]
    assert list(found.weights) == explained
    assert found.newcomer_factors[0] == found.organisation_factors[0] == 1


@given(members)
def test_caps_hold_or_are_named(rows):
    found = capped(rows)
    total = math.fsum(found.weights)
    newcomers = sum(weight for weight, row in zip(found.weights, rows, strict=True) if row[1])
    heaviest = max(
        sum(weight for i, weight in enumerate(found.weights) if (rows[i][2] or i) == key)
        for key in {row[2] or i for i, row in enumerate(rows)}
    )
    assert (newcomers > 0.1 * total * (1 + 1e-7)) <= (NEWCOMERS in found.not_held)
    assert (heaviest > 0.2 * total * (1 + 1e-7)) <= (ORGANISATIONS in found.not_held)


@given(members)
def test_caps_only_lower(rows):
    assert all(0 < after <= row[0] for after, row in zip(capped(rows).weights, rows, strict=True))


@given(members)
def test_a_cap_that_cannot_hold_still_counts_an_organisation_as_one_client_at_most(rows):
    found = capped(rows)
    if ORGANISATIONS in found.not_held:
        for name in {row[2] for row in rows} - {None}:
            held = sum(weight for weight, row in zip(found.weights, rows, strict=True) if row[2] == name)
            assert held <= max(row[0] for row in rows) * (1 + 1e-9)


@given(members, st.randoms())
def test_permuting_the_members_changes_nothing(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    assert capped([rows[i] for i in order]).weights == tuple(capped(rows).weights[i] for i in order)


@pytest.mark.parametrize(
    ("totals", "level"),
    [([1.0] * 5, 1.0), ([1.0] * 10, 2.0), ([9.0, 1, 1, 1, 1], 1.0), ([9.0, 1, 1, 1], 0.0), ([4.0] + [0.5] * 16, 2.0)],
)
def test_the_water_stands_at_the_highest_level_that_keeps_the_share(totals, level):
    assert water_level(totals, 0.2) == pytest.approx(level)


@pytest.mark.parametrize("share", [1 / 3, 0.2, 0.15, 0.07, 0.9])
def test_the_water_has_a_level_whenever_there_are_enough_vessels(share):
    assert water_level([float(i + 1) for i in range(math.ceil(1 / share))], share) > 0
