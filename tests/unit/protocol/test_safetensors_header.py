"""Headers written to deceive: each is refused, by its code, and none makes the parser allocate by a number in it."""

import json
import tracemalloc

import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from boltz_protocol import tensors
from boltz_protocol.messages import TensorSpec
from boltz_protocol.tensors import Layout, TensorsError

LAYOUT = Layout((TensorSpec(name="a", shape=(2,)), TensorSpec(name="b", shape=(2, 3))))
A = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
B = '"b":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]}'


def entry(shape, start, stop, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def refuse(raw, code="malformed_tensors"):
    with pytest.raises(TensorsError) as refused:
        tensors.parse_safetensors_header(raw.encode() if isinstance(raw, str) else raw, LAYOUT)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "text",
    [
        f"{{{A},{B}}}",
        f"{{{B},{A}}}",
        f"{{{A},{B}}}" + " " * 100,
        f"{{ {A} , \n{B} }}",
        '{"__metadata__":{"format":"np","":""},' + f"{A},{B}}}",
        '{"__metadata__":{},' + f"{A},{B}}}",
        f"{{{A},{B}}}".replace('"a"', '"\\u0061"'),
    ],
    ids=["plain", "another order of keys", "padded", "spaced", "metadata", "empty metadata", "an escape"],
)
def test_any_valid_spelling_is_accepted(text):
    tensors.parse_safetensors_header(text.encode(), LAYOUT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " " + f"{{{A},{B}}}",
        f"{{{A},{B}}}\0",
        f"{{{A},{B}}}{{}}",
        f"{{{A},{B}",
        "[]",
        "null",
        "{",
        "\ufeff" + f"{{{A},{B}}}",
        '{"a":' + "[" * 100_000,
        '{"a":' * 100_000,
        f"{{{A},{B},}}",
        f"{{{A},{B},\"x\":'y'}}",
    ],
    ids=[
        "nothing", "a space first", "a zero byte", "two objects", "cut", "a list", "null", "an open brace",
        "a byte order mark", "deep lists", "deep objects", "a comma too many", "other quotes",
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(text):
    refuse(text)


def test_a_header_that_is_not_utf_8_is_refused():
    refuse(f"{{{A},{B}}}".encode().replace(b'"a"', b'"\xff"'))


def test_a_header_past_the_limit_is_refused_before_it_is_parsed():
    refuse(b"{" * (tensors.MAX_SAFETENSORS_HEADER_BYTES + 1))


@pytest.mark.parametrize(
    "text",
    [
        f"{{{A},{A},{B}}}",
        f"{{{A},{B},{B}}}",
        '{"a":{"dtype":"U8","dtype":"F32","shape":[2],"data_offsets":[0,8]},' + f"{B}}}",
        '{"a":{"dtype":"F32","shape":[4],"shape":[2],"data_offsets":[0,8]},' + f"{B}}}",
        '{"__metadata__":{},"__metadata__":{},' + f"{A},{B}}}",
        '{"__metadata__":{"x":"1","x":"2"},' + f"{A},{B}}}",
        f"{{{A},{B}," + A.replace('"a"', '"\\u0061"') + "}",
    ],
    ids=["first", "last", "dtype", "shape", "metadata", "in metadata", "escaped"],
)
def test_a_name_listed_twice_is_refused(text):
    refuse(text)


@pytest.mark.parametrize(
    "metadata",
    ["1", "[]", "null", '"x"', '{"x":1}', '{"x":null}', '{"x":{}}', '{"x":["y"]}'],
)
def test_metadata_that_is_not_text_is_refused(metadata):
    refuse(f'{{"__metadata__":{metadata},{A},{B}}}')


@pytest.mark.parametrize("dtype", ["F64", "F16", "BF16", "I32", "f32", "", "F32 ", None, 32, ["F32"], {"F32": 1}])
def test_another_dtype_is_refused_by_name(dtype):
    refuse(json.dumps({"a": entry([2], 0, 8, dtype), "b": entry([2, 3], 8, 32)}), "wrong_dtype")


@pytest.mark.parametrize(
    "tensor",
    [
        None,
        [],
        "F32",
        {},
        {"dtype": "F32", "shape": [2]},
        {"dtype": "F32", "data_offsets": [0, 8]},
        {"shape": [2], "data_offsets": [0, 8]},
        {**entry([2], 0, 8), "strides": [1]},
    ],
    ids=str,
)
def test_an_entry_with_other_members_is_refused(tensor):
    refuse(json.dumps({"a": tensor, "b": entry([2, 3], 8, 32)}))


@pytest.mark.parametrize(
    "literal",
    [
        "2.0",
        "2e0",
        "true",
        "null",
        '"2"',
        "[2]",
        "-2",
        "NaN",
        "Infinity",
        "1e999",
        str(2**53),
        str(2**64 + 2),
        "9" * 5000,
    ],
)
def test_a_dimension_that_is_no_plain_integer_is_refused(literal):
    refuse(f'{{"a":{{"dtype":"F32","shape":[{literal}],"data_offsets":[0,8]}},{B}}}')


@pytest.mark.parametrize("literal", ["8.0", "true", "null", '"8"', "-8", str(2**64 + 8), "9" * 5000])
def test_an_offset_that_is_no_plain_integer_is_refused(literal):
    refuse(f'{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,{literal}]}},{B}}}')


def test_true_is_not_one():
    layout = Layout((TensorSpec(name="a", shape=(1,)),))
    tensors.parse_safetensors_header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', layout)
    with pytest.raises(TensorsError):
        tensors.parse_safetensors_header(b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[false,4]}}', layout)


@pytest.mark.parametrize("offsets", [[], [0], [0, 8, 8], {"0": 8}, 8, "08", None], ids=str)
def test_offsets_that_are_no_pair_are_refused(offsets):
    refuse(json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": offsets}, "b": entry([2, 3], 8, 32)}))


@pytest.mark.parametrize("shape", [{"0": 2}, 2, "2", None, [1] * 9 + [2]], ids=str)
def test_a_shape_that_is_no_short_list_is_refused(shape):
    refuse(json.dumps({"a": entry(shape, 0, 8), "b": entry([2, 3], 8, 32)}))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (entry([3], 0, 8), entry([2, 3], 8, 32)),
        (entry([2], 0, 9), entry([2, 3], 9, 33)),
        (entry([2], 8, 0), entry([2, 3], 8, 32)),
        (entry([2**32, 2**32], 0, 0), entry([2, 3], 0, 24)),
        (entry([2**62], 0, 0), entry([2, 3], 0, 24)),
        (entry([2**53 - 1] * 8, 0, 8), entry([2, 3], 8, 32)),
        (entry([2, 0], 0, 8), entry([2, 3], 8, 32)),
    ],
    ids=[
        "too large a shape",
        "an odd byte",
        "backwards",
        "a product of 2^64",
        "a size of 2^64",
        "a huge product",
        "zero",
    ],
)
def test_a_shape_that_disagrees_with_its_offsets_is_refused(a, b):
    refuse(json.dumps({"a": a, "b": b}))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (entry([2], 0, 8), entry([2, 3], 4, 28)),
        (entry([2], 0, 8), entry([2, 3], 0, 24)),
        (entry([2], 0, 8), entry([2, 3], 12, 36)),
        (entry([2], 4, 12), entry([2, 3], 12, 36)),
        (entry([2], 0, 8), entry([2, 3], 2**40, 2**40 + 24)),
    ],
    ids=["an overlap", "one on the other", "a gap between", "a gap in front", "a distant one"],
)
def test_overlaps_and_gaps_are_refused(a, b):
    refuse(json.dumps({"a": a, "b": b}))


@pytest.mark.parametrize(
    "listed",
    [
        {},
        {"a": entry([2], 0, 8)},
        {"a": entry([2], 0, 8), "c": entry([2, 3], 8, 32)},
        {"a": entry([2], 0, 8), "b": entry([2, 3], 8, 32), "c": entry([1], 32, 36)},
        {"a": entry([2], 0, 8), "b": entry([2, 3], 8, 32), "c": entry([0], 32, 32)},
        {"a": entry([2], 24, 32), "b": entry([2, 3], 0, 24)},
        {"a": entry([2], 0, 8), "b": entry([3, 2], 8, 32)},
        {"a": entry([2], 0, 8), "b": entry([6], 8, 32)},
        {"a": entry([2, 1], 0, 8), "b": entry([2, 3], 8, 32)},
        {"a": entry([2**40], 0, 2**42), "b": entry([2, 3], 2**42, 2**42 + 24)},
    ],
    ids=[
        "none", "one missing", "another name", "one more", "an empty one more", "another order", "transposed", "flat",
        "another rank", "another size",
    ],
)  # fmt: skip
def test_a_valid_header_of_another_layout_is_refused_by_name(listed):
    refuse(json.dumps(listed), "wrong_layout")


def test_half_a_surrogate_pair_in_a_name_is_refused():
    refuse(f"{{{A},{B}}}".replace('"b"', '"\\ud800"'), "wrong_layout")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: (
    st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["a", "b", "dtype", "shape", "data_offsets", "__metadata__"]), inner, max_size=4)
), max_leaves=20))  # fmt: skip
def test_arbitrary_json_is_refused_and_never_crashes(value):
    with pytest.raises(TensorsError):
        tensors.parse_safetensors_header(json.dumps(value).encode(), LAYOUT)


@given(st.data())
def test_whatever_we_accept_the_safetensors_library_reads_the_same(data):
    raw = bytearray(tensors.safetensors_header(LAYOUT)[8:])
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from(b' 0123456789{}[]",:abF\\u\x00\xff'))
    try:
        tensors.parse_safetensors_header(raw, LAYOUT)
    except TensorsError:
        return
    listed = dict(safetensors.deserialize(len(raw).to_bytes(8, "little") + bytes(raw) + bytes(LAYOUT.data_bytes)))
    assert {name: (info["dtype"], info["shape"]) for name, info in listed.items()} == {
        "a": ("F32", [2]),
        "b": ("F32", [2, 3]),
    }


@pytest.mark.parametrize(
    "text",
    [
        f'{{"a":{{"dtype":"F32","shape":[{2**52}],"data_offsets":[0,{2**54}]}},{B}}}',
        f'{{"a":{{"dtype":"F32","shape":[{2**50}],"data_offsets":[0,{2**52}]}}}}',
        f'{{"a":{{"dtype":"F32","shape":{[2**53 - 1] * 8},"data_offsets":[0,8]}},{B}}}',
    ],
    ids=["past the integers of JSON", "four pebibytes", "a product of 424 bits"],
)
def test_numbers_in_a_header_allocate_nothing(text):
    raw = text.encode()
    tracemalloc.start()
    with pytest.raises(TensorsError):
        tensors.parse_safetensors_header(raw, LAYOUT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
