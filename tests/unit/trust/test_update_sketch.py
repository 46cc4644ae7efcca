import hashlib

import numpy as np
import pytest

from boltz_core.ingest.segments import SEGMENT_PARAMETERS
from boltz_core.trust.errors import TrustError
from boltz_core.trust.sketch import WIDTH, UpdateSketch, moving_average, public_seed, sketch_cosine

SEED = public_seed("d" * 64)
LARGE = 40 * SEGMENT_PARAMETERS


def made(parameters, seed=1):
    return np.random.default_rng(seed).normal(size=parameters).astype(np.float32)


def cuts(vector):
    return [vector[start : start + SEGMENT_PARAMETERS] for start in range(0, len(vector), SEGMENT_PARAMETERS)]


def sketch_of(vector, seed=SEED):
    sketch = UpdateSketch(seed, parameters=len(vector))
    for index, segment in enumerate(cuts(vector)):
        sketch.add(index, segment)
    return sketch.values()


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("parameters", [10, 9000, SEGMENT_PARAMETERS, 3 * SEGMENT_PARAMETERS + 50])
@pytest.mark.parametrize("likeness", [-1.0, 0.0, 0.5, 1.0])
def test_the_cosine_of_two_sketches_estimates_that_of_the_updates(parameters, likeness):
    one = made(parameters, seed=5)
    other = likeness * one + (1 - abs(likeness)) * made(parameters, seed=6)
    assert sketch_cosine(sketch_of(one), sketch_of(other)) == pytest.approx(cosine(one, other), abs=4 / 16)


def test_the_estimate_is_right_on_average():
    one, other = made(5000, seed=5), made(5000, seed=5) + made(5000, seed=6)
    seeds = [hashlib.sha256(bytes([i])).digest() for i in range(60)]
    found = np.mean([sketch_cosine(sketch_of(one, seed), sketch_of(other, seed)) for seed in seeds])
    assert found == pytest.approx(cosine(one, other), abs=0.03)


def test_rows_of_one_repeated_pattern_do_not_fool_the_estimate():
    # Rank one, with rows as wide as the sketch: signs dealt out by rows would give +-1 for anything.
    pattern = made(WIDTH, seed=7)
    one, other = np.outer(made(64, seed=8), pattern).ravel(), np.outer(made(64, seed=9), pattern).ravel()
    assert sketch_cosine(sketch_of(one), sketch_of(other)) == pytest.approx(cosine(one, other), abs=4 / 16)


def test_segments_that_repeat_each_other_do_not_fool_the_estimate():
    segment = made(SEGMENT_PARAMETERS, seed=7)
    one, other = np.tile(segment, 4), np.concatenate([segment, -segment, segment, -segment])
    assert sketch_cosine(sketch_of(one), sketch_of(other)) == pytest.approx(0, abs=4 / 16)


def test_the_same_update_gives_the_same_bits_on_any_machine():
    vector = (np.arange(20_000) % 251 - 125).astype(np.float32) / np.float32(1.7)  # sums that have to be rounded
    digest = hashlib.sha256(sketch_of(vector, bytes(32)).astype("<f4").tobytes()).hexdigest()
    assert digest == "6284274009533c21a6cbdc0a863586b61f575fb74033839a7f70d33e4a9f9395"


def test_the_sketch_equals_the_sums_of_its_definition():
    vector = made(SEGMENT_PARAMETERS + 300)
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(SEED).digest(SEGMENT_PARAMETERS // 8), dtype=np.uint8))
    signs = bits.astype(np.float64) * 2 - 1
    expected = np.zeros(WIDTH)
    for index, segment in enumerate(cuts(vector)):
        digest = hashlib.sha256(SEED + index.to_bytes(8, "big")).digest()
        for i, value in enumerate(segment.tolist()):
            expected[(i + digest[0]) % WIDTH] += value * signs[i] * (1 if digest[1] & 1 else -1)
    assert sketch_of(vector) == pytest.approx(expected, abs=1e-4)


def test_another_seed_gives_another_sketch():
    vector = made(1000)
    assert abs(sketch_cosine(sketch_of(vector), sketch_of(vector, public_seed("e" * 64)))) < 0.3


def test_a_small_model_is_sketched_whole():
    sketch = UpdateSketch(SEED, parameters=16 * SEGMENT_PARAMETERS)
    assert all(sketch.looks_at(index) for index in range(16))


def test_a_large_model_is_sketched_in_every_eighth_segment():
    vector = made(LARGE)
    sketch = UpdateSketch(SEED, parameters=LARGE)
    for index, segment in list(enumerate(cuts(vector)))[::8]:
        sketch.add(index, segment)
    assert sketch_of(vector).tolist() == sketch.values().tolist()


def test_numbers_at_the_end_of_float32_make_no_noise():
    assert not np.isfinite(sketch_of(np.full(SEGMENT_PARAMETERS, 3e38, dtype=np.float32))).all()


def test_a_moving_average_starts_as_the_direction_of_the_first_update():
    sketch = sketch_of(made(500))
    assert np.linalg.norm(moving_average(None, sketch)) == pytest.approx(1)
    assert sketch_cosine(moving_average(None, sketch), sketch) == pytest.approx(1)


def test_a_moving_average_follows_slowly_and_whatever_the_size():
    first, second = sketch_of(made(500)), sketch_of(1e6 * made(500, seed=2))
    average = moving_average(moving_average(None, first), second)
    assert sketch_cosine(average, first) > sketch_cosine(average, second)


def test_zeros_leave_a_moving_average_alone():
    zeros = np.zeros(WIDTH, dtype=np.float32)
    average = moving_average(None, sketch_of(made(500)))
    assert moving_average(average, zeros).tolist() == average.tolist()
    assert moving_average(None, zeros).tolist() == zeros.tolist()


def test_there_is_no_cosine_with_zeros():
    assert sketch_cosine(np.zeros(WIDTH, dtype=np.float32), sketch_of(made(500))) is None


@pytest.mark.parametrize(
    "sketch", [np.zeros(WIDTH - 1, dtype=np.float32), np.full(WIDTH, np.nan, dtype=np.float32)], ids=["short", "NaN"]
)
def test_what_is_no_sketch_is_refused(sketch):
    with pytest.raises(TrustError, match="256 finite numbers"):
        sketch_cosine(sketch_of(made(500)), sketch)
