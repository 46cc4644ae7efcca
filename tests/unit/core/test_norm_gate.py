from hypothesis import given, settings
from hypothesis import strategies as st

from boltz_core.aggregation.gate import gate_norms


def test_a_norm_beyond_the_hard_bound_is_out_and_said_why():
    assert gate_norms([1.0, 1.0, 9.0], bound=8.0).reasons == (None, None, "norm 9 is beyond the hard bound 8")


def test_a_norm_beyond_four_times_the_median_is_out_and_said_why():
    assert gate_norms([1.0, 2.0, 8.1], bound=10.0).reasons == (
        None,
        None,
        "norm 8.1 is more than 4 times the median norm 2",
    )


def test_four_times_the_median_is_still_in():
    assert gate_norms([1.0, 2.0, 8.0], bound=10.0).reasons == (None,) * 3


def test_ingests_tolerance_of_the_bound_is_in():
    assert gate_norms([8.0 * (1 + 9e-7), 3.0], bound=8.0).reasons == (None, None)


def test_norms_beyond_the_bound_have_no_say_in_the_median():
    assert gate_norms([1.0, 1.0, 1.0, 5.0, 1e9, 1e9, 1e9], bound=10.0).reasons[3] is not None


def test_a_median_of_zero_puts_nobody_out():
    assert gate_norms([0.0, 0.0, 0.0, 1.0], bound=8.0).reasons == (None,) * 4


def test_nobody_within_the_bound_leaves_nobody():
    assert None not in gate_norms([9.0, 10.0], bound=8.0).reasons


@settings(deadline=None)
@given(
    honest=st.lists(st.floats(1, 2), min_size=3, max_size=9),
    attackers=st.lists(st.floats(0, 1e6), max_size=2),
)
def test_fewer_than_half_cannot_put_alike_ones_out(honest, attackers):
    assert gate_norms([*honest, *attackers], bound=1e7).reasons[: len(honest)] == (None,) * len(honest)
