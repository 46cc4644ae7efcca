import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.trust.errors import NoWeightError, TrustError
from boltz_core.trust.overrides import Override
from boltz_core.trust.standing import Standing, own_weight, trust_factor
from boltz_core.trust.weights import breakdown_bound, decide_weights

TRUSTED = {"trust": 0.9, "rounds": 50, "quality": 1.0}
standings = st.lists(
    st.builds(
        Standing,
        update_id=st.just("u"),
        trust=st.floats(0, 0.99),
        rounds=st.integers(0, 20),
        quality=st.floats(0.01, 1),
        organisation=st.sampled_from([None, "a", "b", "c"]),
    ),
    min_size=1,
    max_size=25,
)


def named(members):
    return [Standing(**{**vars(one), "update_id": f"u{i}"}) for i, one in enumerate(members)]


def cohort(count=10, **changes):
    return [Standing(f"u{i}", **{**TRUSTED, **changes}) for i in range(count)]


def decide(members, gram=None):
    return decide_weights(members, np.eye(len(members)) if gram is None else gram, mode="robust")


def override(kind, value):
    return Override(kind, value, "replaced its data feed", "op-1")


def names(member):
    return [step.name for step in member.steps]


@pytest.mark.parametrize(("trust", "g"), [(0.0, 0.05), (0.2, 0.05), (0.23, 0.05), (0.5, 0.5), (0.8, 1.0), (0.99, 1.0)])
def test_trust_becomes_a_factor(trust, g):
    assert trust_factor(trust) == pytest.approx(g)


def test_equal_members_weigh_the_same():
    decision = decide(cohort())
    assert [member.share for member in decision.members] == pytest.approx([0.1] * 10)
    assert (decision.w_max, decision.bootstrap) == (2.0, ())
    assert decision.breakdown_bound == pytest.approx(0.5)


def test_where_all_are_new_all_are_equal_and_the_record_says_bootstrap():
    decision = decide(cohort(trust=0.056, rounds=0))
    assert [member.share for member in decision.members] == pytest.approx([0.1] * 10)
    assert decision.bootstrap == ("newcomers",)


@pytest.mark.parametrize(("rounds", "bootstrap"), [(4, ("newcomers",)), (5, ())])
def test_a_client_is_no_newcomer_any_more_after_five_rounds_with_evidence(rounds, bootstrap):
    assert decide(cohort(rounds=rounds)).bootstrap == bootstrap


def test_a_record_shows_why_a_client_weighs_little():
    members = [*cohort(), Standing("last", trust=0.5, rounds=50, quality=0.6)]
    last = decide(members).members[-1]
    assert [(step.name, pytest.approx(step.weight), step.reason) for step in last.steps] == [
        ("trust", 0.5, "trust 0.5"),
        ("quality", 0.3, "data quality 0.6"),
    ]
    assert (last.weight, last.share) == pytest.approx((0.3, 0.3 / 10.3))


def test_no_weight_is_above_twice_the_median_of_the_established():
    members = [*cohort(quality=0.3), Standing("last", **TRUSTED)]
    decision = decide(members)
    assert decision.w_max == pytest.approx(0.6)
    assert (names(decision.members[-1])[-1], decision.members[-1].weight) == ("w_max", decision.w_max)
    assert decision.breakdown_bound == pytest.approx(1 / 3)


def test_newcomers_do_not_move_the_median_of_the_established():
    crowd = [Standing(f"n{i}", trust=0.05, rounds=0, quality=1.0) for i in range(50)]
    assert decide([*cohort(5), *crowd]).w_max == 2.0


def test_the_median_is_that_of_all_while_few_are_established():
    crowd = [Standing(f"n{i}", trust=0.05, rounds=0, quality=1.0) for i in range(50)]
    assert decide([*cohort(4), *crowd]).w_max == pytest.approx(0.1)


def test_members_without_weight_do_not_lower_the_median():
    silent = [Standing(f"s{i}", trust=0.9, rounds=50, quality=0.0) for i in range(30)]
    decision = decide([*cohort(5), *silent])
    assert (decision.w_max, decision.members[-1].share) == (2.0, 0.0)


@pytest.mark.parametrize(("kind", "value", "expected"), [("fix", 0.3, 0.3), ("scale", 0.5, 0.25), ("fix", 0.0, 0.0)])
def test_an_override_fixes_or_scales_g(kind, value, expected):
    members = [*cohort(), Standing("last", trust=0.5, rounds=50, quality=1.0, override=override(kind, value))]
    last = decide(members).members[-1]
    assert last.weight == pytest.approx(expected)
    assert last.steps[1].reason.endswith("by op-1: replaced its data feed")


def test_an_override_cannot_pass_w_max():
    members = [*cohort(trust=0.32), Standing("last", trust=0.0, rounds=50, quality=1.0, override=override("fix", 1.0))]
    decision = decide(members)
    assert decision.members[-1].weight == decision.w_max == pytest.approx(0.4)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_an_override_outside_zero_to_one_is_refused(value):
    with pytest.raises(TrustError, match="from 0 to 1"):
        override("scale", value)


def gram_with_copies(count, *groups):
    rows = np.eye(count)
    for group in groups:
        rows[list(group)] = rows[group[0]]
    return rows @ rows.T


def test_near_duplicates_share_one_weight():
    decision = decide(cohort(), gram_with_copies(10, (7, 8, 9)))
    assert [member.weight for member in decision.members[7:]] == pytest.approx([1 / 3] * 3)
    assert decision.members[9].steps[-1].reason == "nearly the same update as 2 more; they share one weight"


def test_a_newcomer_that_copies_takes_a_twentieth_at_most():
    members = [*cohort(), Standing("copier", trust=0.05, rounds=0, quality=1.0)]
    decision = decide(members, gram_with_copies(11, (9, 10)))
    assert decision.members[9].weight == pytest.approx(1 / 1.05)


def test_what_most_of_the_established_agree_on_is_not_a_copy():
    decision = decide(cohort(), gram_with_copies(10, (0, 1, 2, 3, 4, 5)))
    assert [member.weight for member in decision.members] == [1.0] * 10


def test_an_organisation_with_many_clients_cannot_pass_for_agreement():
    members = [*cohort(), *(Standing(f"s{i}", **TRUSTED, organisation="sybil") for i in range(30))]
    decision = decide(members, gram_with_copies(40, tuple(range(10, 40))))
    assert sum(member.weight for member in decision.members[10:]) == pytest.approx(1.0)


def test_a_group_that_weighs_nothing_stays_at_nothing():
    members = [*cohort(), *(Standing(f"s{i}", trust=0.9, rounds=50, quality=0.0) for i in range(2))]
    assert decide(members, gram_with_copies(12, (10, 11))).members[-1].weight == 0


def test_early_on_equal_updates_are_merged_even_when_they_are_most():
    members = cohort(trust=0.05, rounds=0)
    decision = decide(members, gram_with_copies(10, (0, 1, 2, 3, 4, 5, 6, 7)))
    assert decision.members[0].share == pytest.approx(1 / 8 / 3)


def test_caps_are_steps_with_their_reasons():
    members = [*cohort(), *(Standing(f"n{i}", trust=0.5, rounds=1, quality=1.0, organisation="x") for i in range(20))]
    last = decide(members).members[-1]
    assert last.steps[-1].reason == "newcomers together hold at most 10%"
    members = [*cohort(), *(Standing(f"n{i}", **TRUSTED, organisation="x") for i in range(20))]
    assert decide(members).members[-1].steps[-1].reason == "an organisation holds at most 20%"


def test_a_cap_that_cannot_hold_says_so_in_its_step():
    members = [*cohort(3, organisation="a"), *(Standing(f"n{i}", **TRUSTED, organisation="b") for i in range(9))]
    decision = decide(members)
    assert decision.bootstrap == ("organisations",)
    assert decision.members[-1].steps[-1].reason == "an organisation holds at most 20%, as far as that can hold now"


def test_a_round_in_which_nobody_weighs_anything_is_refused():
    with pytest.raises(NoWeightError, match="any weight"):
        decide(cohort(override=override("fix", 0.0)))


@pytest.mark.parametrize(
    ("members", "rows"),
    [
        (cohort(3), 2),
        ([*cohort(1), *cohort(1)], 2),
        (cohort(2, rounds=-1), 2),
        (cohort(2, quality=1.1), 2),
        (cohort(2, trust=-1), 2),
    ],
)
def test_members_that_do_not_fit_are_refused(members, rows):
    with pytest.raises(TrustError):
        decide(members, np.eye(rows))


@pytest.mark.parametrize("w_max", [0.0, -1.0, float("nan"), float("inf")])
def test_a_constant_w_max_is_above_zero(w_max):
    with pytest.raises(TrustError, match="must be above 0"):
        own_weight(cohort(1)[0], mode="private", w_max=w_max)


def test_the_breakdown_bound_is_where_both_sides_weigh_the_same():
    bound = breakdown_bound(w_max=2.0, w_median=1.0)
    assert bound * 2.0 == pytest.approx((1 - bound) * 1.0)


@given(standings)
def test_no_weight_is_above_w_max_and_shares_sum_to_one(members):
    decision = decide(named(members))
    assert max(member.weight for member in decision.members) <= decision.w_max
    assert sum(member.share for member in decision.members) == pytest.approx(1)


@given(standings)
def test_the_last_step_is_the_weight(members):
    assert all(member.steps[-1].weight == member.weight for member in decide(named(members)).members)


@given(standings, st.randoms(), st.integers(0, 99))
def test_permuting_the_clients_changes_no_weight(members, random, seed):
    members = named(members)
    rows = np.random.default_rng(seed).normal(size=(len(members), 2))
    gram = rows @ rows.T
    gram = (gram + gram.T) / 2
    order = list(range(len(members)))
    random.shuffle(order)
    shuffled = decide([members[i] for i in order], gram[np.ix_(order, order)])
    straight = decide(members, gram)
    assert [one.share for one in shuffled.members] == [straight.members[i].share for i in order]


@given(standings, st.floats(0, 0.99), st.floats(0, 0.99))
def test_without_others_more_trust_never_weighs_less(members, one, other):
    low, high = sorted((one, other))
    standing = named(members)[0]
    weights = [
        own_weight(Standing(**{**vars(standing), "trust": trust}), mode="robust", w_max=2.0)[-1].weight
        for trust in (low, high)
    ]
    assert weights[0] <= weights[1]
