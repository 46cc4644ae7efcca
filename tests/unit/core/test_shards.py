import pytest
from hypothesis import given
from hypothesis import strategies as st

from boltz_core.aggregation.shards import plan_shards
from boltz_core.ingest.segments import SEGMENT_PARAMETERS, segment_count

sizes = st.integers(1, 2**31)


@given(parameters=sizes, max_shards=st.integers(1, 40), min_parameters=st.integers(1, 10**7))
def test_the_ranges_cover_every_parameter_once_and_break_between_segments(parameters, max_shards, min_parameters):
    spans = plan_shards(parameters, max_shards=max_shards, min_parameters=min_parameters)
    assert [span.start for span in spans] == [0, *(span.stop for span in spans[:-1])]
    assert spans[-1].stop == parameters == sum(span.parameters for span in spans)
    assert [span.first_segment for span in spans] == [0, *(span.last_segment_exclusive for span in spans[:-1])]
    assert spans[-1].last_segment_exclusive == segment_count(parameters)
    assert all(span.start == span.first_segment * SEGMENT_PARAMETERS < span.stop for span in spans)


@given(parameters=sizes)
def test_the_ranges_are_even_and_not_too_many(parameters):
    spans = plan_shards(parameters)
    assert len(spans) == max(1, min(32, parameters >> 21))
    counts = [span.last_segment_exclusive - span.first_segment for span in spans]
    assert max(counts) - min(counts) <= 1


def test_a_small_model_takes_one_range():
    assert len(plan_shards((1 << 22) - 1)) == 1


@pytest.mark.parametrize("arguments", [{"parameters": 0}, {"max_shards": 0}, {"min_parameters": 0}], ids=str)
def test_a_number_below_one_is_refused(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        plan_shards(**({"parameters": 10} | arguments))
