"""The protocol's tensors as NumPy arrays: from numbers in JSON, from bytes, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.server.refusals import malformed


def shape_of(given: Any, spec: TensorSpec, max_rows: int) -> tuple[int, ...]:
    """A shape as it stands in a request, which must be rows of what the model takes.

    Raises:
        Refused: it is not.
    """
    wanted = f"[rows, {', '.join('any' if size < 0 else str(size) for size in spec.shape)}]".replace(", ]", "]")
    if not isinstance(given, list) or not all(type(size) is int for size in given):
        raise malformed(f"input '{spec.name}': expected 'shape' to be a list of whole numbers, {wanted}")
    fits = len(given) == len(spec.shape) + 1 and all(
        size == expected or (expected < 0 < size) for size, expected in zip(given[1:], spec.shape, strict=False)
    )
    if not fits or given[0] < 1:
        shown = str(given) if len(given) < 12 else f"of {len(given)} axes"
        raise malformed(f"input '{spec.name}': shape {shown} does not fit; expected {wanted}, at least one row")
    if given[0] > max_rows:
        raise malformed(f"input '{spec.name}': {given[0]} rows in one request; {max_rows} are allowed")
    return tuple(given)


def from_json(data: Any, shape: tuple[int, ...], spec: TensorSpec, has_booleans: bool) -> np.ndarray:
    """Numbers, flat or nested as the shape is, as an array.

    Args:
        has_booleans: whether a true or a false is somewhere in the request: NumPy takes them for numbers.

    Raises:
        Refused: they are no numbers of this type, or too few or too many.
    """
    if not isinstance(data, list):
        raise malformed(f"input '{spec.name}': expected 'data' to be a list")
    try:
        found = np.array(data)
    except (ValueError, OverflowError, RecursionError) as error:
        raise malformed(f"input '{spec.name}': 'data' is neither flat nor nested as its shape is") from error
    if found.size != math.prod(shape):
        raise malformed(f"input '{spec.name}': {found.size} values; its shape {list(shape)} has {math.prod(shape)}")
    if found.ndim != 1 and found.shape != shape:
        raise malformed(f"input '{spec.name}': 'data' is nested as {list(found.shape)}, not as {list(shape)}")
    dtype = np.dtype(spec.dtype)
    allowed = {"f": "fiu", "b": "b"}.get(dtype.kind, "iu")
    if found.dtype.kind not in allowed or (has_booleans and dtype.kind != "b" and _any_boolean(data)):
        what = {"f": "numbers", "b": "true and false"}.get(dtype.kind, "whole numbers")
        raise malformed(f"input '{spec.name}': expected {what}, which is what {spec.datatype} holds")
    if found.dtype != dtype:
        found = _cast(found, dtype, spec)
    return found.reshape(shape)


def _cast(found: np.ndarray, dtype: np.dtype, spec: TensorSpec) -> np.ndarray:
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            cast = found.astype(dtype)
        fits = bool(np.isfinite(cast).all())  # JSON has no infinity, so it came of the cast
    else:
        bounds = np.iinfo(dtype)
        fits, cast = int(found.min()) >= bounds.min and int(found.max()) <= bounds.max, found.astype(dtype)
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
