import numpy as np
import pytest

from boltz_core.ingest.segments import SEGMENT_PARAMETERS
from boltz_core.trust.errors import TrustError
from boltz_core.trust.ingest_scores import IngestMeter
from boltz_core.trust.sketch import UpdateSketch, public_seed

SEED = public_seed("d" * 64)


def measure(vector, sizes):
    meter = IngestMeter(sizes, SEED)
    for index, start in enumerate(range(0, len(vector), SEGMENT_PARAMETERS)):
        segment = vector[start : start + SEGMENT_PARAMETERS]
        meter.add(index, segment, segment.astype(np.float64))
    return meter.measures()


def made(parameters, seed=1):
    return np.random.default_rng(seed).normal(size=parameters).astype(np.float32)


@pytest.mark.parametrize(
    "sizes",
    [
        [7],
        [3, 4, 1],
        [SEGMENT_PARAMETERS],
        [SEGMENT_PARAMETERS, SEGMENT_PARAMETERS],
        [5, 3 * SEGMENT_PARAMETERS, 11],
        [SEGMENT_PARAMETERS - 1, 2, SEGMENT_PARAMETERS - 1],
    ],
    ids=str,
)
def test_norm_and_shares_are_those_of_the_tensors_however_segments_cut_them(sizes):
    vector = made(sum(sizes))
    found = measure(vector, sizes)
    pieces = np.split(vector.astype(np.float64), np.cumsum(sizes)[:-1])
    squares = np.array([piece @ piece for piece in pieces])
    assert found.tensor_shares == pytest.approx((squares / squares.sum()).tolist())
    assert found.norm == pytest.approx(np.sqrt(squares.sum()))


def test_signs_are_shares_of_what_is_above_below_and_at_zero():
    vector = np.array([1, 2, -3, 0, 0, 0, 0, -5], dtype=np.float32)
    assert measure(vector, [8]).signs.as_tuple() == (0.25, 0.25, 0.5)


def test_an_update_of_zeros_has_no_share_in_any_tensor():
    found = measure(np.zeros(8, dtype=np.float32), [3, 5])
    assert (found.norm, found.tensor_shares, found.signs.zero) == (0.0, (0.0, 0.0), 1.0)


def test_signs_of_a_large_model_are_counted_where_it_is_sketched():
    vector = np.full(20 * SEGMENT_PARAMETERS, -1.0, dtype=np.float32)
    for index in (0, 8, 16):
        vector[index * SEGMENT_PARAMETERS : (index + 1) * SEGMENT_PARAMETERS] = 1.0
    assert measure(vector, [len(vector)]).signs.positive == 1.0


def test_the_sketch_is_that_of_the_update():
    vector = made(2 * SEGMENT_PARAMETERS)
    sketch = UpdateSketch(SEED, parameters=len(vector))
    sketch.add(0, vector[:SEGMENT_PARAMETERS])
    sketch.add(1, vector[SEGMENT_PARAMETERS:])
    assert measure(vector, [len(vector)]).sketch.tolist() == sketch.values().tolist()


def test_more_parameters_than_the_layout_has_are_refused():
    with pytest.raises(TrustError, match="beyond the 4 parameters"):
        measure(made(5), [4])


def test_fewer_parameters_than_the_layout_has_are_refused():
    with pytest.raises(TrustError, match="4 parameters were measured; the layout has 5"):
        measure(made(4), [5])


@pytest.mark.parametrize("sizes", [[], [3, 0]])
def test_a_layout_without_parameters_is_refused(sizes):
    with pytest.raises(TrustError, match="at least one parameter"):
        IngestMeter(sizes, SEED)
