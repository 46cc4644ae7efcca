import hashlib
import string
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from boltz_protocol import tensors
from boltz_protocol.messages import TensorSpec
from boltz_protocol.tensors import Layout, LayoutError, TensorsError

names = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=9).map(lambda name: f"{name}./-")
arrays_strategy = st.dictionaries(
    names,
    hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=4), elements=st.floats(width=32)),
    min_size=1,
    max_size=5,
)


def spec(name, *shape):
    return TensorSpec(name=name, shape=shape)


# --- layouts ---


def test_a_layout_is_sorted_by_name_whatever_the_order_it_came_in():
    layout = Layout.of({"b": np.zeros((2, 3)), "a.x": np.zeros(4), "B": np.zeros(1)})
    assert layout.specs == (spec("B", 1), spec("a.x", 4), spec("b", 2, 3))
    assert layout == Layout.from_specs(reversed(layout.specs))


def test_a_layout_knows_its_sizes_and_places():
    layout = Layout((spec("a", 4), spec("b", 2, 3)))
    assert (layout.parameters, layout.data_bytes) == (10, 40)
    assert layout.offsets == {"a": (0, 4), "b": (4, 10)}


def test_the_digest_is_that_of_the_canonical_specs():
    canonical = b'[{"name":"a","shape":[4]},{"name":"b","shape":[2,3]}]'
    assert Layout((spec("a", 4), spec("b", 2, 3))).digest == hashlib.sha256(canonical).hexdigest()


@pytest.mark.parametrize("other", [(spec("a", 10),), (spec("a", 4), spec("b", 3, 2)), (spec("a", 4), spec("c", 2, 3))])
def test_layouts_that_differ_have_digests_that_differ(other):
    assert Layout(other).digest != Layout((spec("a", 4), spec("b", 2, 3))).digest


@pytest.mark.parametrize(
    "specs",
    [
        (),
        (spec("b", 1), spec("a", 1)),
        (spec("a", 1), spec("a", 1)),
        (spec("a"),),
        (spec("a", 0),),
        (spec("a", -1),),
        (spec("a", 2**31),),
        (spec("a", *[1] * 9),),
        (spec("", 1),),
        (spec("__metadata__\n", 1),),
        (spec("ä", 1),),
        (spec("../a", 1),),
        (spec("a", 2**31 - 1), spec("b", 2)),
        (spec("a", 2**16, 2**16),),
    ],
    ids=[
        "empty", "out of order", "a name twice", "no dimension", "zero", "negative", "past 31 bits", "nine dimensions",
        "no name", "a line break", "not ASCII", "a path", "too many elements", "too many in one",
    ],
)  # fmt: skip
def test_a_list_of_tensors_that_is_no_layout_is_refused(specs):
    with pytest.raises(LayoutError) as refused:
        Layout(specs)
    assert refused.value.code == "layout_mismatch"


def test_a_layout_may_have_exactly_the_largest_number_of_parameters():
    assert Layout((spec("a", 2**31 - 1), spec("b", 1))).parameters == tensors.MAX_PARAMETERS


def test_the_name_that_safetensors_keeps_for_itself_is_refused():
    with pytest.raises(LayoutError, match="__metadata__"):
        Layout((spec("__metadata__", 1),))


def test_a_layout_whose_header_would_pass_the_limit_is_refused():
    with pytest.raises(LayoutError, match="list of tensors"):
        Layout.from_specs(spec(f"{number:0128}", 1) for number in range(6000))


# --- arrays and vectors ---


@given(arrays_strategy)
def test_arrays_come_back_from_their_vector(arrays):
    layout = Layout.of(arrays)
    back = tensors.unflatten(tensors.flatten(arrays, layout), layout)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array, strict=True)


def test_the_vector_is_in_name_order_and_row_major():
    arrays = {"b": np.array([[1, 2], [3, 4]], order="F"), "a": np.array([9.0])}
    np.testing.assert_array_equal(tensors.flatten(arrays, Layout.of(arrays)), np.float32([9, 1, 2, 3, 4]), strict=True)


def test_unflattened_arrays_are_views():
    layout = Layout((spec("a", 2), spec("b", 2, 2)))
    vector = np.zeros(6, np.float32)
    tensors.unflatten(vector, layout)["b"][1, 1] = 5
    assert vector[5] == 5


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": np.zeros(2)},
        {"a": np.zeros(2), "b": np.zeros((2, 2)), "c": np.zeros(1)},
        {"a": np.zeros(2), "b": np.zeros(4)},
        {"a": np.zeros(1), "b": np.zeros((2, 2))},
        {"a": np.zeros((2, 1)), "b": np.zeros((2, 2))},
        {"a": np.zeros(2, complex), "b": np.zeros((2, 2))},
        {"a": np.array(["1", "2"]), "b": np.zeros((2, 2))},
        {"a": np.array([1, 2], object), "b": np.zeros((2, 2))},
    ],
    ids=["one missing", "one more", "flat", "broadcast", "a column", "complex", "text", "objects"],
)
def test_arrays_that_do_not_fit_the_layout_are_refused(arrays):
    with pytest.raises(LayoutError) as refused:
        tensors.flatten(arrays, Layout((spec("a", 2), spec("b", 2, 2))))
    assert refused.value.code == "layout_mismatch"


def test_a_number_beyond_float32_is_refused_instead_of_becoming_infinite():
    with pytest.raises(LayoutError) as refused:
        tensors.flatten({"a": np.array([1e39])}, Layout((spec("a", 1),)))
    assert refused.value.code == "not_finite"


@pytest.mark.parametrize(
    "vector",
    [np.zeros(5, np.float32), np.zeros(7, np.float32), np.zeros((2, 3), np.float32), np.zeros(6), np.zeros(6, ">f4")],
    ids=["short", "long", "two dimensions", "float64", "big-endian"],
)
def test_a_vector_that_does_not_fit_the_layout_is_refused(vector):
    layout = Layout((spec("a", 2), spec("b", 2, 2)))
    for use in (tensors.unflatten, tensors.encode_safetensors, tensors.vector_bytes):
        with pytest.raises(LayoutError):
            use(vector, layout)


def test_the_bytes_of_a_contiguous_vector_are_not_copied():
    layout = Layout((spec("a", 6),))
    vector = np.arange(6, dtype=np.float32)
    view = tensors.vector_bytes(vector, layout)
    vector[0] = 7
    assert view[:4] == np.float32(7).tobytes()


def test_the_bytes_of_a_strided_vector_are_its_elements():
    vector = np.arange(12, dtype=np.float32)[::2]
    assert tensors.vector_bytes(vector, Layout((spec("a", 6),))) == vector.tobytes()


# --- safetensors files ---


@given(arrays_strategy)
def test_the_safetensors_library_reads_what_we_write(arrays):
    layout = Layout.of(arrays)
    theirs = safetensors.numpy.load(tensors.encode_safetensors(tensors.flatten(arrays, layout), layout))
    assert theirs.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(theirs[name], array, strict=True)


@given(arrays_strategy, st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_we_read_what_the_safetensors_library_writes(arrays, metadata):
    layout = Layout.of(arrays)
    vector = tensors.decode_safetensors(safetensors.numpy.save(arrays, metadata), layout)
    np.testing.assert_array_equal(vector, tensors.flatten(arrays, layout), strict=True)


def test_the_header_that_we_write():
    layout = Layout((spec("a", 1), spec("b", 2, 3)))
    text = (
        b'{"a":{"data_offsets":[0,4],"dtype":"F32","shape":[1]},'
        b'"b":{"data_offsets":[4,28],"dtype":"F32","shape":[2,3]}}  '
    )
    assert len(text) % 8 == 0
    assert tensors.safetensors_header(layout) == len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize("padding", range(8))
def test_a_decoded_vector_is_aligned_whatever_the_length_of_the_header(padding):
    layout = Layout((spec("a", 3),))
    header = tensors.safetensors_header(layout)[8:] + b" " * padding
    vector = np.float32([1, 2, 3])
    decoded = tensors.decode_safetensors(len(header).to_bytes(8, "little") + header + vector.tobytes(), layout)
    assert decoded.flags.aligned
    np.testing.assert_array_equal(decoded, vector, strict=True)


def test_a_decoded_vector_is_a_view():
    layout = Layout((spec("a", 3),))
    raw = bytearray(tensors.encode_safetensors(np.zeros(3, np.float32), layout))
    vector = tensors.decode_safetensors(raw, layout)
    raw[-4:] = np.float32(5).tobytes()
    assert vector[2] == 5


@given(st.data())
def test_a_file_cut_anywhere_or_lengthened_is_refused(data):
    layout = Layout((spec("a", 3),))
    raw = tensors.encode_safetensors(np.zeros(3, np.float32), layout)
    for damaged in (raw[: data.draw(st.integers(0, len(raw) - 1))], raw + data.draw(st.binary(min_size=1, max_size=9))):
        with pytest.raises(TensorsError):
            tensors.decode_safetensors(damaged, layout)


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**31, 2**20 + 1])
def test_a_header_length_made_to_allocate_is_refused_without_allocating(length):
    layout = Layout((spec("a", 3),))
    raw = tensors.encode_safetensors(np.zeros(3, np.float32), layout)
    tracemalloc.start()
    with pytest.raises(TensorsError):
        tensors.decode_safetensors(length.to_bytes(8, "little") + raw[8:], layout)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
