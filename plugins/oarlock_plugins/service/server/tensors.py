"""The protocol's tensors as NumPy arrays: from numbers in JSON, from bytes, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.server.refusals import malformed

# Kinds of NumPy's types that a kind of ours takes from JSON; whole numbers take whole numbers.
_ALLOWED = {"f": "fiu", "b": "b"}


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

    Args:
        has_booleans: whether a true or a false is somewhere in the request: NumPy takes them for numbers.

    Raises:
        Refused: they are no numbers of this type, or too few or too many.
    """
    if type(data) is not list:
        raise malformed(f"input '{spec.name}': expected 'data' to be a list")
    try:
        found = np.array(data)
    except (ValueError, OverflowError, RecursionError) as error:
        raise malformed(f"input '{spec.name}': 'data' is neither flat nor nested as its shape is") from error
    if found.shape != shape and (found.ndim != 1 or len(found) != math.prod(shape)):
        raise malformed(f"input '{spec.name}': values of shape {list(found.shape)}; expected {list(shape)}, or "
                        f"{math.prod(shape)} of them in a row")  # fmt: skip
    dtype = np.dtype(spec.dtype)
    kind = dtype.kind
    if found.dtype.kind not in _ALLOWED.get(kind, "iu") or (has_booleans and kind != "b" and _any_boolean(data)):
        what = {"f": "numbers", "b": "true and false"}.get(kind, "whole numbers")
        raise malformed(f"input '{spec.name}': expected {what}, which is what {spec.datatype} holds")
    return _cast(found, dtype, spec).reshape(shape)


def _cast(found: np.ndarray, dtype: np.dtype, spec: TensorSpec) -> np.ndarray:
    kind = dtype.kind
    if kind == "f":
        with np.errstate(over="ignore"):
            cast = found.astype(dtype, copy=False)
        # JSON has no infinity, so it came of the cast; a sum of smaller floats does not overflow.
        fits = dtype.itemsize == 8 or math.isfinite(cast.sum(dtype="float64"))
    elif kind == "b":
        return found
    else:
        bounds = np.iinfo(dtype)
        fits, cast = int(found.min()) >= bounds.min and int(found.max()) <= bounds.max, found.astype(dtype, copy=False)
    if not fits:
        raise malformed(f"input '{spec.name}': a value is too large for {spec.datatype}")
    return cast


def _any_boolean(data: list[Any]) -> bool:
    return any(_any_boolean(one) if isinstance(one, list) else isinstance(one, bool) for one in data)


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
