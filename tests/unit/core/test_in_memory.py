"""Bad input at the door for arrays, and what comes out of it."""

import tracemalloc

import numpy as np
import pytest

from boltz_core.aggregation import aggregate
from boltz_core.aggregation.decision import Decision
from boltz_core.aggregation.errors import AggregationError, ConditionError, TooFewUpdatesError
from boltz_core.aggregation.held_rows import ordered_rows, settled_norm
from boltz_core.aggregation.in_memory import aggregate_plain
from boltz_core.aggregation.rules.parameters import PlanError
from boltz_core.aggregation.rules.registry import RULES
from boltz_core.ingest.segments import SEGMENT_PARAMETERS
from tests.unit.core.made_rows import made_numbers


def made(rows, parameters):
    return made_numbers("in memory", rows * parameters).reshape(rows, parameters)


@pytest.mark.parametrize("rule", RULES)
def test_no_updates_are_refused(rule):
    with pytest.raises(TooFewUpdatesError, match="no updates"):
        aggregate(np.zeros((0, 4)), rule=rule)


@pytest.mark.parametrize(
    "updates", [np.zeros(4), np.zeros((2, 2, 2)), np.array([["a", "b"]]), np.zeros((3, 4), complex)]
)
def test_what_is_not_rows_of_numbers_is_refused(updates):
    with pytest.raises(AggregationError, match="shape"):
        aggregate(updates, rule="median")


def test_rows_without_numbers_are_refused():
    with pytest.raises(AggregationError, match="at least one number"):
        aggregate(np.zeros((3, 0)), rule="median")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_refused_by_its_place(rule, bad):
    rows = made(11, 9)
    rows[4, 3] = bad
    with pytest.raises(AggregationError, match="row 4 holds a number that is not finite"):
        aggregate(rows, rule=rule, byzantine=2)


@pytest.mark.parametrize(
    "weights", [[1.0, 0.0, 1.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0], [1.0, np.inf, 1.0], [1.0] * 4]
)
def test_weights_that_are_not_one_positive_number_a_row_are_refused(weights):
    with pytest.raises(AggregationError, match="weights are 3 finite numbers above 0"):
        aggregate(made(3, 4), rule="weighted_mean", weights=weights)


@pytest.mark.parametrize("rule", ["krum", "bulyan"])
def test_weights_for_a_rule_that_takes_none_are_refused(rule):
    with pytest.raises(PlanError, match=f"{rule} takes no weights"):
        aggregate(made(11, 4), rule=rule, weights=[1.0] * 11)


@pytest.mark.parametrize("door", [aggregate, aggregate_plain])
def test_a_rule_that_does_not_exist_is_refused(door):
    with pytest.raises(PlanError, match="there is no rule 'mean'"):
        door(made(3, 4), rule="mean")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("huge", [1e30, 3e38, 1e300])
def test_one_huge_row_among_sane_ones_is_gated_and_changes_nothing(rule, huge):
    rows = made(12, 50).astype(np.float64)
    rows[5] = huge
    result = aggregate(rows, rule=rule, byzantine=2)
    (gated,) = result.record["gated"]
    assert "norm" in gated["reason"]
    assert np.array_equal(result.vector, aggregate(np.delete(rows, 5, axis=0), rule=rule, byzantine=2).vector)


def test_a_gated_row_has_weight_zero_and_the_others_their_place():
    rows, weights = np.eye(6), np.array([1.0, 2, 3, 4, 5, 6])
    rows[2] *= 100
    result = aggregate(rows, rule="weighted_mean", weights=weights)
    assert np.allclose(result.weights, np.array([1, 2, 0, 4, 5, 6]) / 18, atol=1e-6)
    assert np.allclose(result.vector, result.weights, atol=1e-9)


def test_rows_that_are_all_huge_leave_nobody():
    with pytest.raises(TooFewUpdatesError, match="0 of 3 staged updates pass the gate"):
        aggregate(np.full((3, 2), 1e31), rule="median")


def test_the_condition_is_judged_after_the_gate():
    rows = made(7, 50)
    rows[0] *= 1000
    with pytest.raises(ConditionError, match="at least 7; there are 6 updates"):
        aggregate(rows, rule="krum", byzantine=2)


def test_whole_numbers_and_lists_are_taken():
    assert aggregate([[1, 2], [3, 6]], rule="weighted_mean").vector == pytest.approx([2, 4])


def test_two_updates_have_a_median():
    assert aggregate([[1.0, 8.0], [3.0, 6.0]], rule="median").vector == pytest.approx([2, 7])


def test_one_update_is_its_own_mean():
    assert aggregate(made(1, 30), rule="weighted_mean").vector == pytest.approx(made(1, 30)[0])


@pytest.mark.parametrize("rule", RULES)
def test_the_record_gives_the_decision_back(rule):
    record = aggregate(made(11, 50), rule=rule, byzantine=2, before=("norm_clip", "nnm")).record
    assert Decision.from_record(record).record() == record


def test_a_statistic_has_no_weights_of_updates():
    assert aggregate(made(5, 3), rule="median").weights is None
    assert aggregate_plain(made(5, 3), rule="median").weights is None


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.kind == "linear"])
def test_the_result_of_a_linear_rule_is_the_rows_under_its_weights(rule):
    rows = made(11, 2 * SEGMENT_PARAMETERS + 5)
    result = aggregate(rows, rule=rule, byzantine=2, before=("norm_clip",))
    wanted = result.weights @ rows.astype(np.float64)
    assert np.linalg.norm(result.vector - wanted) <= 1e-6 * np.linalg.norm(wanted)


def test_rows_that_differ_late_have_an_order_of_their_own():
    rows = np.zeros((4, 300))
    rows[0, 299], rows[2, 65], rows[3, 130] = 1, 1, 1
    order = ordered_rows(rows, np.ones(4))
    shuffle = [2, 0, 3, 1]
    assert [shuffle[row] for row in ordered_rows(rows[shuffle], np.ones(4))] == order


def test_equal_rows_go_by_their_weights():
    assert ordered_rows(np.ones((3, 200)), np.array([3.0, 1.0, 2.0])) == [1, 2, 0]


def test_a_norm_is_that_of_all_segments():
    row = made(1, 3 * SEGMENT_PARAMETERS + 7)[0]
    assert settled_norm(row) == pytest.approx(np.linalg.norm(row.astype(np.float64)), rel=1e-11)


@pytest.mark.parametrize(("rule", "before"), [("trimmed_mean", ("nnm",)), ("bulyan", ()), ("krum", ("norm_clip",))])
def test_memory_stays_small_beside_the_rows(rule, before):
    # the rows are made by a broadcast that needs no memory, so what is seen is the engine's own
    rows = np.broadcast_to(made(1, 40 * SEGMENT_PARAMETERS), (100, 40 * SEGMENT_PARAMETERS))
    tracemalloc.start()
    try:
        aggregate(rows, rule=rule, byzantine=20, before=before)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 * 2**20 < rows.nbytes / 5
