"""Named arrays <-> one float32 vector <-> safetensors bytes.

A layout lists a model's tensors in name order; laid end to end they are the vector. In a safetensors file of that
layout the bytes after the header are the vector itself (float32, little-endian), so nothing is copied on the way.

Headers from outside are parsed here, with Python integers, and compared with the layout: no size that a sender writes
is ever used to allocate or to index. There is no pickle and no `np.load` anywhere. Whether the numbers are finite is
the core's question.

Source of the format: the README of github.com/huggingface/safetensors, "Format".
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from boltz_protocol import codec
from boltz_protocol.errors import SenderError
from boltz_protocol.messages import TensorSpec

Float32Vector: TypeAlias = NDArray[np.float32]
Float64Vector: TypeAlias = NDArray[np.float64]

ITEM_BYTES = 4
MAX_PARAMETERS = 2**31
MAX_SAFETENSORS_HEADER_BYTES = 1 << 20
MAX_DIMENSIONS = 8
LENGTH_BYTES = 8
METADATA = "__metadata__"


class LayoutError(SenderError):
    """Arrays, a vector or a list of tensors that do not fit the layout, or a layout that is none."""

    default_code = "layout_mismatch"


class TensorsError(SenderError):
    """Bytes that are not a safetensors file of the layout. Codes: malformed_tensors, wrong_dtype, wrong_layout."""

    default_code = "malformed_tensors"


@dataclass(frozen=True)
class Layout:
    """The tensors of a model, sorted by name; together at most 2^31 elements, and a header of at most 1 MiB.

    Raises:
        LayoutError: names out of order or twice, names or shapes out of bounds, too many elements.
    """

    specs: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        try:
            msgspec.convert(msgspec.to_builtins(self.specs), tuple[TensorSpec, ...])
        except msgspec.ValidationError as error:
            raise LayoutError(f"not a layout: {error}") from error
        if not self.specs or any(one.name >= other.name for one, other in pairwise(self.specs)):
            raise LayoutError("a layout has at least one tensor, each name once, in name order")
        if any(spec.name == METADATA for spec in self.specs):
            raise LayoutError(f"no tensor can be named {METADATA}: safetensors keeps the name for itself")
        if self.parameters > MAX_PARAMETERS:
            raise LayoutError(f"{self.parameters} parameters; the limit is {MAX_PARAMETERS}")
        if len(self.header) > LENGTH_BYTES + MAX_SAFETENSORS_HEADER_BYTES:
            raise LayoutError(f"the list of tensors needs more than {MAX_SAFETENSORS_HEADER_BYTES} bytes")

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The layout of named arrays."""
        return cls.from_specs(TensorSpec(name=name, shape=np.shape(array)) for name, array in arrays.items())

    @classmethod
    def from_specs(cls, specs: Iterable[TensorSpec]) -> Self:
        """The layout of tensors listed in any order."""
        return cls(tuple(sorted(specs, key=lambda spec: spec.name)))

    @cached_property
    def parameters(self) -> int:
        """How many elements all tensors have together."""
        return sum(math.prod(spec.shape) for spec in self.specs)

    @property
    def data_bytes(self) -> int:
        """The length of the vector in bytes."""
        return ITEM_BYTES * self.parameters

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the specs, in hex."""
        return hashlib.sha256(codec.encode(self.specs)).hexdigest()

    @cached_property
    def offsets(self) -> dict[str, tuple[int, int]]:
        """Where each tensor lies in the vector: (start, stop) in elements."""
        offsets, start = {}, 0
        for spec in self.specs:
            stop = start + math.prod(spec.shape)
            offsets[spec.name] = (start, stop)
            start = stop
        return offsets

    @cached_property
    def header(self) -> bytes:
        """The safetensors header that we write for this layout (`safetensors_header`)."""
        entries = {
            spec.name: {
                "dtype": "F32",
                "shape": spec.shape,
                "data_offsets": [ITEM_BYTES * edge for edge in self.offsets[spec.name]],
            }
            for spec in self.specs
        }
        text = codec.encode(entries)
        text += b" " * (-len(text) % LENGTH_BYTES)
        return len(text).to_bytes(LENGTH_BYTES, "little") + text


def flatten(arrays: Mapping[str, NDArray[Any]], layout: Layout) -> Float32Vector:
    """Lay named arrays end to end, in name order, as float32.

    Raises:
        LayoutError: other names or shapes, not real numbers, or (code `not_finite`) numbers that float32 cannot hold.
    """
    if set(arrays) != set(layout.offsets):
        raise LayoutError(f"tensors {sorted(arrays)}; the layout has {[spec.name for spec in layout.specs]}")
    vector = np.empty(layout.parameters, np.float32)
    for spec in layout.specs:
        array = np.asarray(arrays[spec.name])
        if array.shape != spec.shape:
            raise LayoutError(f"{spec.name} has the shape {array.shape}; the layout says {spec.shape}")
        start, stop = layout.offsets[spec.name]
        try:
            with np.errstate(over="raise"):
                np.copyto(vector[start:stop].reshape(spec.shape), array, casting="same_kind")
        except TypeError as error:
            raise LayoutError(f"{spec.name} is of type {array.dtype}, not real numbers") from error
        except FloatingPointError as error:
            raise LayoutError(f"{spec.name} has numbers beyond float32", code="not_finite") from error
    return vector


def unflatten(vector: Float32Vector, layout: Layout) -> dict[str, NDArray[np.float32]]:
    """Cut the vector into named arrays, as views of it.

    Raises:
        LayoutError: not a float32 vector of the layout's length.
    """
    _check_vector(vector, layout)
    return {spec.name: vector[slice(*layout.offsets[spec.name])].reshape(spec.shape) for spec in layout.specs}


def safetensors_header(layout: Layout) -> bytes:
    """The header that we write: u64 little-endian length, canonical JSON, spaces up to a multiple of 8 bytes."""
    return layout.header


def parse_safetensors_header(raw: bytes | bytearray, layout: Layout) -> None:
    """Check that a header lists exactly the layout's tensors: float32, in name order, without gaps.

    Any valid spelling is accepted (order of keys, spaces, `__metadata__` with strings), so that other writers can be
    used. What it stops: shapes and offsets that disagree, overlaps, gaps, a name listed twice (parsers differ on which
    one counts), numbers made to overflow.

    Args:
        raw: untrusted: the header without the 8 bytes of its length.
        layout: what must be in it.

    Raises:
        TensorsError: `malformed_tensors` when it is no valid header at all, `wrong_dtype` when a tensor is not float32,
            `wrong_layout` when it is valid but lists other tensors.
    """
    if len(raw) > MAX_SAFETENSORS_HEADER_BYTES:
        raise TensorsError(f"a header of {len(raw)} bytes; the limit is {MAX_SAFETENSORS_HEADER_BYTES}")
    entries = _parse_json_object(raw)
    metadata = entries.pop(METADATA, {})
    if type(metadata) is not dict or any(type(text) is not str for text in metadata.values()):
        raise TensorsError(f"{METADATA} must map strings to strings")
    tensors = {name: _parse_entry(name[:64], entry) for name, entry in entries.items()}
    _check_contiguous(tensors)
    expected = {
        spec.name: (spec.shape, *(ITEM_BYTES * edge for edge in layout.offsets[spec.name])) for spec in layout.specs
    }
    if tensors != expected:
        raise TensorsError("the tensors are not those of the model's layout, in name order", code="wrong_layout")


def encode_safetensors(vector: Float32Vector, layout: Layout) -> bytes:
    """A whole safetensors file.

    Raises:
        LayoutError: not a float32 vector of the layout's length.
    """
    return b"".join((layout.header, vector_bytes(vector, layout)))


def decode_safetensors(raw: bytes | bytearray | memoryview, layout: Layout) -> Float32Vector:
    """The vector in a whole safetensors file, as a view of `raw` where that is possible; `raw` is untrusted.

    Raises:
        TensorsError: not a safetensors file of the layout, or not of exactly the right length.
    """
    view = memoryview(raw).cast("B")
    if len(view) < LENGTH_BYTES:
        raise TensorsError("shorter than the length of its header")
    start = LENGTH_BYTES + int.from_bytes(view[:LENGTH_BYTES], "little")
    if start > LENGTH_BYTES + MAX_SAFETENSORS_HEADER_BYTES or len(view) != start + layout.data_bytes:
        raise TensorsError(f"{len(view)} bytes do not fit a header and {layout.data_bytes} bytes of tensors")
    parse_safetensors_header(bytes(view[LENGTH_BYTES:start]), layout)
    # A header of a length that is no multiple of four puts the numbers off their alignment: then, and only then, a
    # copy.
    return np.require(np.frombuffer(view, np.dtype("<f4"), offset=start), np.float32, "A")


def vector_bytes(vector: Float32Vector, layout: Layout) -> memoryview:
    """The vector's bytes as they are on the wire: a view of it, unless it is strided or the machine big-endian.

    Raises:
        LayoutError: not a float32 vector of the layout's length.
    """
    _check_vector(vector, layout)
    return np.ascontiguousarray(vector, np.dtype("<f4")).data.cast("B")


def _check_vector(vector: Float32Vector, layout: Layout) -> None:
    if vector.dtype != np.float32 or vector.shape != (layout.parameters,):
        raise LayoutError(f"a {vector.dtype} array of shape {vector.shape}; float32 ({layout.parameters},) is needed")


def _parse_json_object(raw: bytes | bytearray) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise TensorsError("a header begins with {")
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise TensorsError("the header is not JSON") from error
    return value  # type: ignore[no-any-return]  # begins with {, so it is an object


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise TensorsError("a name is listed twice")
    return unique


def _parse_entry(name: str, entry: Any) -> tuple[tuple[int, ...], int, int]:
    """Shape, first and last byte of one tensor, after checking that they agree."""
    if type(entry) is not dict or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise TensorsError(f"{name!r} must have dtype, shape and data_offsets")
    if entry["dtype"] != "F32":
        raise TensorsError(f"{name!r} must have the dtype F32", code="wrong_dtype")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS or not _are_sizes(offsets) or len(offsets) != 2:  # noqa: PLR2004 - start and stop
        raise TensorsError(f"{name!r} has a shape or offsets that cannot be")
    start, stop = offsets
    # Python's integers: the product is exact, whatever the sender wrote, and has few factors.
    if stop - start != ITEM_BYTES * math.prod(shape):
        raise TensorsError(f"{name!r} has a shape that does not fit its offsets")
    return tuple(shape), start, stop


def _are_sizes(values: Any) -> bool:
    # bool is a subclass of int, and true == 1; a float such as 2.0 equals an int too
    return type(values) is list and all(type(value) is int and value >= 0 for value in values)


def _check_contiguous(tensors: Mapping[str, tuple[tuple[int, ...], int, int]]) -> None:
    position = 0
    for _, start, stop in sorted(tensors.values(), key=lambda tensor: tensor[1:]):
        if start != position:
            raise TensorsError("the tensors overlap or leave gaps")
        position = stop
