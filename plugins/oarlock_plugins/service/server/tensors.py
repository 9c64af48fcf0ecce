"""The protocol's tensors as NumPy arrays: from numbers in JSON, from bytes, and back."""

from __future__ import annotations

import itertools
import math
import struct
from typing import Any

import numpy as np

from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.server.refusals import malformed

# What the kinds of NumPy's types take from JSON.
_TYPES: dict[str, tuple[set[type], str]] = {"f": ({float, int}, "numbers"), "b": ({bool}, "true and false")}
_WHOLE: tuple[set[type], str] = {int}, "whole numbers"
# As `struct` calls the types.
_FORMATS = {"bool": "?", "uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q", "int8": "b", "int16": "h", "int32": "i",
            "int64": "q", "float16": "e", "float32": "f", "float64": "d"}  # fmt: skip


def shape_of(given: Any, spec: TensorSpec, max_rows: int) -> tuple[int, ...]:
    """A shape as it stands in a request, which must be rows of what the model takes.

    Raises:
        Refused: it is not.
    """
    if type(given) is not list or not given:
        raise malformed(f"input '{spec.name}': expected 'shape' to be a list, {_wanted(spec)}")
    for size in given:
        if type(size) is not int:
            raise malformed(f"input '{spec.name}': expected 'shape' to be whole numbers, {_wanted(spec)}")
    shape = tuple(given)
    if shape[1:] != spec.shape and not _fits(shape[1:], spec.shape):
        shown = str(given) if len(given) < 12 else f"of {len(given)} axes"
        raise malformed(f"input '{spec.name}': shape {shown} does not fit; expected {_wanted(spec)}")
    if not 1 <= shape[0] <= max_rows:
        raise malformed(f"input '{spec.name}': {shape[0]} rows in one request; expected 1 to {max_rows}")
    return shape


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        size == expected or expected < 0 < size for size, expected in zip(shape, wanted, strict=True)
    )


def _wanted(spec: TensorSpec) -> str:
    return f"[{', '.join(['rows', *('any' if size < 0 else str(size) for size in spec.shape)])}]"


def from_json(data: Any, shape: tuple[int, ...], spec: TensorSpec, has_booleans: bool) -> np.ndarray:
    """Numbers, flat or nested as the shape is, as an array.

    `struct` packs them in a fraction of NumPy's time, and nothing but numbers: of texts NumPy would make an array of texts,
    each as large as the longest.

    Args:
        has_booleans: whether a true or a false is somewhere in the request: `struct` takes them for numbers.

    Raises:
        Refused: they are no numbers of this type, or too few or too many.
    """
    if type(data) is not list:
        raise malformed(f"input '{spec.name}': expected 'data' to be a list")
    values = _flat(data, shape)
    if values is None:
        raise malformed(f"input '{spec.name}': 'data' is a list of {len(data)}; expected {list(shape)}, nested so or "
                        f"{math.prod(shape)} values in a row")  # fmt: skip
    if has_booleans or spec.dtype == "bool":  # for which it takes anything
        _check_types(values, spec)
    try:
        packed = struct.pack(f"={len(values)}{_FORMATS[spec.dtype]}", *values)
    except (struct.error, OverflowError) as error:
        _check_types(values, spec)
        raise malformed(f"input '{spec.name}': a value is too large for {spec.datatype}") from error
    return np.frombuffer(packed, spec.dtype).reshape(shape)


def _flat(data: list[Any], shape: tuple[int, ...]) -> list[Any] | None:
    """The values in a row; None where they are neither that nor nested as the shape is."""
    if not data or type(data[0]) is not list:
        return data if len(data) == math.prod(shape) else None
    if len(data) != shape[0]:
        return None
    for size in shape[1:]:
        if not all(type(one) is list and len(one) == size for one in data):
            return None
        data = list(itertools.chain.from_iterable(data))
    return data


def _check_types(values: list[Any], spec: TensorSpec) -> None:
    types, what = _TYPES.get(np.dtype(spec.dtype).kind, _WHOLE)
    if not types.issuperset(map(type, values)):
        raise malformed(f"input '{spec.name}': expected {what}, which is what {spec.datatype} holds")


def from_bytes(raw: memoryview, shape: tuple[int, ...], spec: TensorSpec) -> np.ndarray:
    """Little-endian values as an array over the same memory.

    Raises:
        Refused: they are too few or too many.
    """
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    wanted = math.prod(shape) * dtype.itemsize
    if len(raw) != wanted:
        raise malformed(f"input '{spec.name}': {len(raw)} bytes; {spec.datatype} of shape {list(shape)} has {wanted}")
    if dtype.kind == "b" and len(raw) and max(raw) > 1:
        raise malformed(f"input '{spec.name}': a BOOL is one byte, 0 or 1")
    return np.frombuffer(raw, dtype).reshape(shape)
