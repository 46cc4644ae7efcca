"""What every rule promises, through the door for arrays."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boltz_core.aggregation import aggregate
from boltz_core.aggregation.errors import AggregationError, ConditionError
from boltz_core.aggregation.held_rows import ordered_rows
from boltz_core.aggregation.in_memory import aggregate_plain
from boltz_core.aggregation.rules.median import weighted_middle_of
from boltz_core.aggregation.rules.registry import RULES
from boltz_core.aggregation.rules.rule import Setting
from tests.unit.core.made_rows import made_numbers

SEED = "c0" * 32
STATISTICS = ("median", "trimmed_mean")
ROBUST = [name for name, rule in RULES.items() if rule.kappa]
EXACT = 1e-6


def made(rows, parameters, seed="rules"):
    return made_numbers(seed, rows * parameters).reshape(rows, parameters)


def smallest_number(rule, byzantine):
    return RULES[rule].condition.least(byzantine)


def close(ours, wanted):
    return np.linalg.norm(ours - wanted) <= EXACT * max(np.linalg.norm(wanted), 1e-9)


def repeats(rows, counts):
    return np.repeat(rows, counts, axis=0)


small_rows = st.integers(7, 11).flatmap(
    lambda n: st.lists(st.lists(st.integers(-8, 8).map(float), min_size=2, max_size=2), min_size=n, max_size=n).map(
        np.array
    )
)


@pytest.mark.parametrize("before", [(), ("norm_clip",), ("nnm",), ("bucketing",), ("norm_clip", "nnm", "bucketing")])
@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=8, deadline=None)
@given(rows=small_rows, data=st.data())
def test_rows_in_any_order_give_the_same_bits(rule, before, rows, data):
    order = data.draw(st.permutations(range(len(rows))))
    asked = {"rule": rule, "before": before, "parameters": {"seed": SEED} if "bucketing" in before else {}}
    asked["byzantine"] = 1 if rule != "bulyan" and "bucketing" not in before else 0
    try:
        here, there = aggregate(rows, **asked), aggregate(rows[order], **asked)
    except ConditionError:
        with pytest.raises(ConditionError):
            aggregate(rows[order], **asked)
        return
    assert np.array_equal(here.vector, there.vector)


@pytest.mark.parametrize("before", [(), ("norm_clip",), ("nnm",), ("norm_clip", "nnm")])
@pytest.mark.parametrize("rule", RULES)
def test_equal_rows_give_the_row(rule, before):
    row = made(1, 500)
    assert close(aggregate(np.repeat(row, 11, axis=0), rule=rule, byzantine=2, before=before).vector, row[0])


@pytest.mark.parametrize("rule", RULES)
def test_zero_rows_give_zero(rule):
    assert not aggregate(np.zeros((11, 20)), rule=rule, byzantine=2).vector.any()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("byzantine", [0, 1, 2])
def test_one_row_fewer_than_the_condition_is_refused_with_the_numbers(rule, byzantine):
    least = smallest_number(rule, byzantine)
    aggregate(made(least, 3), rule=rule, byzantine=byzantine)
    if least > 1:
        with pytest.raises(
            ConditionError, match=f"{rule} with f = {byzantine} needs n >= .*, at least {least}; .*{least - 1}"
        ):
            aggregate(made(least - 1, 3), rule=rule, byzantine=byzantine)


@pytest.mark.parametrize("rule", RULES)
def test_a_single_coordinate_is_enough(rule):
    assert abs(aggregate(made(11, 1), rule=rule, byzantine=2).vector[0]) <= 1


@pytest.mark.parametrize("rule", [*STATISTICS, "krum", "multi_krum", "bulyan", "geometric_median", "weighted_mean"])
def test_a_translation_of_all_rows_translates_the_result(rule):
    # with f < 3 Bulyan's last picks are always ties of two, which go by an order that a translation may change
    rows, offset = made(15, 40).astype(np.float64), made(1, 40, "offset").astype(np.float64)[0]
    here, there = (aggregate_plain(each, rule=rule, byzantine=3).vector for each in (rows, rows + 3 * offset))
    assert np.allclose(here + 3 * offset, there, atol=1e-8)


@pytest.mark.parametrize("rule", [*STATISTICS, "bulyan"])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_each_coordinate_stays_in_the_honest_range(rule, data):
    n = smallest_number(rule, 2) + 2  # the gate may take both attackers
    honest = made(n - 2, 6, str(data.draw(st.integers(0, 1000))))
    number = st.floats(-3, 3, width=32)
    attackers = data.draw(st.lists(st.lists(number, min_size=6, max_size=6), min_size=2, max_size=2))
    result = aggregate(np.vstack([honest, np.array(attackers, np.float32)]), rule=rule, byzantine=2).vector
    room = 1e-6 * np.abs(honest).max()
    assert (result >= honest.min(axis=0) - room).all()
    assert (result <= honest.max(axis=0) + room).all()


@pytest.mark.parametrize("rule", ROBUST)
@pytest.mark.parametrize("behind", [(), ("nnm",)])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(-20, 20), f=st.integers(1, 3))
def test_the_error_is_within_kappa_times_the_variance_of_the_honest(rule, behind, seed, size, f):
    n = max(smallest_number(rule, f), 3 * f + 1)
    honest = 0.2 + made(n - f, 30, f"honest {seed}").astype(np.float64)
    attackers = np.repeat(size * made(1, 30, f"attack {seed}"), f, axis=0)
    result = aggregate_plain(np.vstack([attackers, honest]), rule=rule, byzantine=f, before=behind).vector
    kappa = RULES[rule].kappa(n, f)
    if behind:
        kappa = 8 * f / (n - f) * (kappa + 1)  # Allouah et al. 2023, Lemma 1
    mean = honest.mean(axis=0)
    variance = ((honest - mean) ** 2).sum(axis=1).mean()
    assert ((result - mean) ** 2).sum() <= kappa * variance


@pytest.mark.parametrize("rule", ["weighted_mean", *STATISTICS])
@pytest.mark.parametrize("before", [(), ("nnm",)])
@given(counts=st.lists(st.integers(1, 9), min_size=7, max_size=7))
@settings(max_examples=20, deadline=None)
def test_whole_weights_count_as_repeats(rule, before, counts):
    rows, total = made(7, 12), sum(counts)
    byzantine = Fraction(2 * total, 7)
    if byzantine.denominator != 1:
        byzantine = Fraction(0)
    asked = {"rule": rule, "before": before}
    weighted = aggregate_plain(rows, weights=counts, byzantine=2 if byzantine else 0, **asked)
    repeated = aggregate_plain(repeats(rows, counts), byzantine=int(byzantine), **asked)
    assert np.allclose(weighted.vector, repeated.vector, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", ["weighted_mean", *STATISTICS])
@given(counts=st.lists(st.integers(1, 9), min_size=7, max_size=7))
@settings(max_examples=10, deadline=None)
def test_whole_weights_count_as_repeats_on_the_grid_too(rule, counts):
    rows = made(7, 12)
    assert close(aggregate(rows, rule=rule, weights=counts).vector, aggregate(repeats(rows, counts), rule=rule).vector)


@pytest.mark.parametrize("before", [(), ("nnm",)])
@pytest.mark.parametrize("rule", STATISTICS)
def test_weighted_statistics_on_the_grid_are_close_to_the_ungridded_ones(rule, before):
    asked = {"rule": rule, "before": before, "byzantine": 2, "weights": [0.3, 1, 0.77, 2, 1.1, 0.9, 1, 3, 0.1]}
    assert close(aggregate(made(9, 3000), **asked).vector, aggregate_plain(made(9, 3000), **asked).vector)


def test_a_fifth_of_the_weight_is_trimmed_at_each_end():
    rows = np.array([[-10.0], [0.0], [1.0], [2.0], [10.0]])
    weights = [2, 1, 3, 1, 3]
    result = aggregate_plain(rows, rule="trimmed_mean", byzantine=1, weights=weights).vector
    assert result == pytest.approx([(0 * 1 + 1 * 3 + 2 * 1 + 10 * 1) / 6])


@pytest.mark.parametrize("rule", ["geometric_median", "centered_clipping"])
def test_weights_of_a_linear_rule_count_as_repeats_too(rule):
    rows, counts = made(5, 12), [1, 4, 2, 1, 3]
    parameters = {"radius": 0.5} if rule == "centered_clipping" else {}
    weighted = aggregate_plain(rows, rule=rule, weights=counts, parameters=parameters)
    repeated = aggregate_plain(repeats(rows, counts), rule=rule, parameters=parameters)
    assert np.allclose(weighted.vector, repeated.vector, rtol=1e-5, atol=1e-8)


@settings(deadline=None)
@given(
    numbers=st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 6)), min_size=1, max_size=9),
    scale=st.sampled_from([1.0, 0.3, 2.0**60]),
)
def test_the_weighted_median_is_that_of_the_repeats(numbers, scale):
    values, counts = np.array(numbers).T
    line = (values * scale)[None, :]
    assert weighted_middle_of(line.copy(), counts) == np.median(np.repeat(line[0], counts))


@pytest.mark.parametrize("rule", ["krum", "multi_krum"])
def test_attackers_who_hide_in_an_offset_are_not_selected(rule):
    honest, attack = made(17, 20_000, "honest"), made(1, 20_000, "attack")
    rows = np.float32(0.05) + np.float32(1e-5) * np.vstack([np.repeat(3 * attack, 3, axis=0), honest])
    selected = aggregate(rows, rule=rule, byzantine=3).weights
    assert not selected[:3].any()
    assert selected[3:].sum() == pytest.approx(1)


def test_small_updates_have_a_geometric_median_that_is_not_their_mean():
    rows = 2.0**-20 * np.vstack([made(9, 200), np.full((3, 200), np.float32(1.5))])
    here = aggregate(rows, rule="geometric_median", byzantine=3).vector
    at_full_size = aggregate(2.0**20 * rows, rule="geometric_median", byzantine=3).vector
    assert np.array_equal(here * 2.0**20, at_full_size)
    assert np.linalg.norm(here - rows.mean(axis=0)) > 0.2 * np.linalg.norm(here)


def test_the_geometric_median_has_the_least_sum_of_distances():
    rows = made(9, 5).astype(np.float64)
    found = aggregate_plain(rows, rule="geometric_median").vector

    def total(point):
        return np.linalg.norm(rows - point, axis=1).sum()

    assert all(total(found) <= total(found + 1e-3 * step) for step in np.vstack([np.eye(5), -np.eye(5)]))


def test_the_geometric_median_of_rows_most_of_which_are_equal_is_that_row():
    rows = np.zeros((9, 4))
    rows[6:] = [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 5]]
    assert np.abs(aggregate_plain(rows, rule="geometric_median", byzantine=3).vector).max() < 1e-5


def test_the_geometric_median_ends_after_the_steps_that_it_is_given():
    rows = made(9, 5)
    once = aggregate_plain(rows, rule="geometric_median", parameters={"steps": 1})
    distances = np.linalg.norm(rows - rows.astype(float).mean(axis=0), axis=1)
    assert np.allclose(once.weights, (1 / distances) / (1 / distances).sum())


def test_krum_gives_one_of_the_rows_and_says_which():
    rows = made(9, 30)
    result = aggregate(rows, rule="krum", byzantine=2)
    assert sorted(result.weights) == [0] * 8 + [1]
    assert close(result.vector, rows[int(np.argmax(result.weights))])


def test_a_tie_in_krum_goes_to_the_first_row_of_the_order():
    rows = np.array([[3.0, 0], [-3, 0], [0, 3], [0, -3], [0, 0.0], [0, 0]])
    assert aggregate(rows, rule="krum", byzantine=1).vector.tolist() == [0, 0]


@pytest.mark.parametrize(("rule", "parameters"), [("krum", {"neighbours": 9}), ("multi_krum", {"selected": 10})])
def test_more_neighbours_or_rows_than_there_are_is_refused(rule, parameters):
    with pytest.raises(ConditionError, match=r"9 rows have 8|there are 9"):
        aggregate(made(9, 3), rule=rule, byzantine=1, parameters=parameters)


def bulyan_by_hand(rows, f):
    """The paper's words, one after the other; exact fractions at ties."""
    left, picked = list(range(len(rows))), []
    squares = ((rows[:, None] - rows) ** 2).sum(axis=2)
    while len(picked) < len(rows) - 2 * f:
        nearest = max(1, len(left) - f - 2)
        scores = [sum(sorted(squares[i, j] for j in left if j != i)[:nearest]) for i in left]
        picked.append(left.pop(int(np.argmin(scores))))
    chosen, kept = rows[sorted(picked)], len(picked) - 2 * f
    result = []
    for column in chosen.T:
        median = np.median(column)
        nearest = sorted(column, key=lambda value: (abs(value - median), value))[:kept]
        result.append(math.fsum(nearest) / kept)
    return np.array(result)


@pytest.mark.parametrize(("n", "f"), [(15, 3), (19, 4), (12, 2), (11, 2), (3, 0), (7, 1)])
def test_bulyan_is_what_the_paper_says(n, f):
    rows = np.array(sorted(made(n, 9, "bulyan").tolist()))
    assert np.allclose(aggregate_plain(rows, rule="bulyan", byzantine=f).vector, _in_order(rows, f), rtol=1e-9)


def _in_order(rows, f):

    return bulyan_by_hand(rows[ordered_rows(rows, np.ones(len(rows)))], f)


def test_centred_clipping_moves_by_no_more_than_the_radius():
    rows = made(9, 30)
    result = aggregate_plain(rows, rule="centered_clipping", parameters={"radius": 0.25, "steps": 4}).vector
    assert 0 < np.linalg.norm(result) <= 1
    far = np.vstack([rows, np.full((2, 30), np.float32(1e4))])
    moved = aggregate_plain(far, rule="centered_clipping", byzantine=2, parameters={"radius": 0.25, "steps": 4}).vector
    assert np.linalg.norm(moved - result) <= 4 * 0.25


def test_a_linear_rule_has_no_statistic():

    with pytest.raises(AggregationError, match="krum is a linear rule"):
        RULES["krum"].of_lines(np.zeros((2, 2)), None, Setting(0, {}))


def test_each_rule_says_what_it_is():
    for name, rule in RULES.items():
        assert (rule.name, rule.kind) == (name, "linear" if rule.coefficients else "statistic")
        assert bool(rule.coefficients) != bool(rule.statistic)
        assert "arXiv:" in rule.source
    assert (str(RULES["krum"].condition), str(RULES["weighted_mean"].condition)) == ("n >= 2f + 3", "n >= 1")
