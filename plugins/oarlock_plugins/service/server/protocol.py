"""The Open Inference Protocol v2: an infer request, read and checked against the model.

The binary tensor extension is part of it: the body begins with JSON of a length that a header names, and the bytes of
the tensors follow in the order in which the JSON names them.
"""

from __future__ import annotations

import itertools
import json
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from oarlock import nearest
from oarlock_plugins.service.bundle import Bundle, TensorSpec
from oarlock_plugins.service.server.refusals import malformed
from oarlock_plugins.service.server.tensors import from_bytes, from_json, shape_of

_NONE: Mapping[str, Any] = {}
# The JSON of requests in bytes is remembered up to this size, and so many of them.
_SHORT, _MOST_LAYOUTS = 1 << 10, 256
# Lists, objects and texts, besides the lists of nested values: each takes many times its bytes.
_MOST_PARTS = 100_000
_NUMBERS = re.compile(rb"\[[-+.\deE,\s]{100,}\]")


@dataclass(slots=True)
class InferRequest:
    """A request that a model can compute.

    Attributes:
        inputs: by name.
        rows: the length of their first axis.
        id: what the client calls it.
        outputs: the names that are asked for, each with whether as bytes.
        timeout: the client's own, in seconds.
        layout: where its JSON was known.
    """

    inputs: dict[str, np.ndarray]
    rows: int
    id: str | None
    outputs: list[tuple[str, bool]]
    timeout: float | None
    layout: Layout | None = None


class Signature:
    """A model's inputs and outputs as requests are checked against them.

    Attributes:
        inputs, outputs: by name.
        layouts: of requests all of whose inputs were bytes, by their JSON: a client sends the same again and again.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.inputs = {spec.name: spec for spec in bundle.inputs}
        self.outputs = {spec.name: spec for spec in bundle.outputs}
        self.layouts: dict[bytes, Layout] = {}


class Layout:
    """What the JSON of a request says, which was checked, and where behind it the bytes of each input are.

    Attributes:
        answered: the shapes of the newest answer in bytes, and its JSON.

    Args:
        request: the request, with arrays over bytes in the order in which these came.
    """

    def __init__(self, request: InferRequest) -> None:
        self._rest = (request.rows, request.id, request.outputs, request.timeout)
        self.answered: tuple[list[tuple[int, ...]], bytes] = ([], b"")
        self._places: list[tuple[str, np.dtype, int, tuple[int, ...], int]] = []
        self.length = 0
        for name, array in request.inputs.items():
            self._places.append((name, array.dtype, array.size, array.shape, self.length))
            self.length += array.nbytes

    def over(self, tail: memoryview) -> InferRequest:
        """The same request with other bytes."""
        inputs = {name: np.frombuffer(tail, dtype, size, start).reshape(shape)
                  for name, dtype, size, shape, start in self._places}  # fmt: skip
        return InferRequest(inputs, *self._rest, self)


def read_request(body: bytes, header_length: bytes | None, signature: Signature, max_rows: int) -> InferRequest:
    """An infer request of its body.

    Args:
        body: unpacked.
        header_length: the header Inference-Header-Content-Length; None where there is none.
        signature: the model's.
        max_rows: of a request.

    Raises:
        Refused: anything in it is not what the protocol or the model wants.
    """
    text, tail = (body, None) if header_length is None else _split(body, header_length)
    if tail is not None:
        known = signature.layouts.get(text)
        if known is not None and known.length == len(tail):
            return known.over(tail)
    if len(text) > _MOST_PARTS:
        _check_parts(text, signature, max_rows)
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise malformed(f"the body is not JSON: {error}") from error
    if type(given) is not dict:
        raise malformed("expected a JSON object")
    if text.count(b":") != _keys(given):  # a colon a key, and none in a text: no key stands twice
        _no_key_twice(text)
    parameters = _parameters(given, "the request") if "parameters" in given else _NONE
    id_ = given.get("id")
    if id_ is not None and type(id_) is not str:
        raise malformed("expected 'id' to be a text")
    # `struct` takes true for 1. Two letters that no number has are found faster than the words.
    has_booleans = (b"r" in text and b"true" in text) or (b"l" in text and b"false" in text)
    inputs, rows = _inputs(given, tail, signature, max_rows, has_booleans)
    outputs = _outputs(given, parameters, signature)
    timeout = parameters.get("timeout")  # Triton's, in microseconds
    if timeout is not None and (type(timeout) is not int or timeout < 0):
        raise malformed("parameter 'timeout': expected microseconds, a whole number")
    request = InferRequest(inputs, rows, id_, outputs, timeout / 1e6 if timeout else None)
    if tail is not None and len(text) <= _SHORT and _all_bytes(inputs, tail):
        if len(signature.layouts) >= _MOST_LAYOUTS:
            signature.layouts.clear()
        signature.layouts[text] = Layout(request)
    return request


def _all_bytes(inputs: Mapping[str, np.ndarray], tail: memoryview) -> bool:
    """Whether the inputs are the bytes behind the JSON, of which any are good: of a BOOL they must be looked at."""
    return (sum(array.nbytes for array in inputs.values()) == len(tail)
            and all(array.dtype.kind != "b" for array in inputs.values()))  # fmt: skip


def _split(body: bytes, header_length: bytes) -> tuple[bytes, memoryview]:
    if not header_length.isdigit() or len(header_length) > 12 or int(header_length) > len(body):
        shown = header_length[:20].decode("ascii", "replace")
        raise malformed(f"Inference-Header-Content-Length: {shown}: expected at most the body's {len(body)} bytes")
    length = int(header_length)
    return body[:length], memoryview(body)[length:]


def _check_parts(text: bytes, signature: Signature, max_rows: int) -> None:
    """Refuse before it is parsed what has more parts than any request."""
    most = _MOST_PARTS
    for spec in signature.inputs.values():
        sizes = (size if size >= 0 else len(text) for size in spec.shape[:-1])
        most += sum(itertools.accumulate([max_rows, *sizes], operator.mul))
    if sum(text.count(mark) for mark in (b"{", b"[", b'"')) > most:
        raise malformed(
            f"the JSON has more than {most} lists, objects and texts, and so more than a request for this model"
        )


def _no_key_twice(text: bytes) -> None:
    """Of two equal keys parsers disagree which one counts; orjson keeps the last and says nothing."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise malformed("a key stands twice in one JSON object")
        return found

    try:
        json.loads(_NUMBERS.sub(b"[]", text), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise malformed("the body is nested too deeply, or not JSON") from error


def _keys(value: dict[str, Any], depth: int = 3) -> int:
    """The keys of the objects where the protocol has objects; of others they are not counted."""
    found = len(value)
    for one in value.values():
        if type(one) is dict and depth:
            found += _keys(one, depth - 1)
        elif type(one) is list and one and type(one[0]) is dict and depth:
            for entry in one:
                if type(entry) is dict:
                    found += _keys(entry, depth - 1)
    return found


def _parameters(holder: dict[str, Any], what: str) -> Mapping[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return _NONE
    if not isinstance(parameters, dict):
        raise malformed(f"{what}: expected 'parameters' to be an object")
    if any(key.startswith("shared_memory") for key in parameters):
        raise malformed(f"{what}: shared memory is not offered here; send the values, or bytes with binary_data_size")
    return parameters


def _entries(given: dict[str, Any], key: str, specs: Mapping[str, TensorSpec]) -> dict[str, dict[str, Any]]:
    """The entries of a list of tensors, by name, all of them of the model."""
    entries = given.get(key)
    if entries is None:
        return {}
    if type(entries) is not list:
        raise malformed(f"expected '{key}' to be a list")
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if type(entry) is not dict or type(name := entry.get("name")) is not str:
            raise malformed(f"expected each entry of '{key}' to be an object with a 'name'")
        if name not in specs:
            what, shown = key.removesuffix("s"), name[:100]
            raise malformed(f"the model has no {what} '{shown}'. {nearest(shown, specs)}")
        if name in found:
            raise malformed(f"'{name}' stands twice in '{key}'")
        found[name] = entry
    return found


def _inputs(
    given: dict[str, Any], tail: memoryview | None, signature: Signature, max_rows: int, has_booleans: bool
) -> tuple[dict[str, np.ndarray], int]:
    arrays: dict[str, np.ndarray] = {}
    rows = start = 0
    for name, entry in _entries(given, "inputs", signature.inputs).items():
        spec = signature.inputs[name]
        if entry.get("datatype") != spec.datatype:
            shown = str(entry.get("datatype"))[:20] if not isinstance(entry.get("datatype"), (list, dict)) else "it"
            raise malformed(f"input '{name}': datatype {shown}; the model takes {spec.datatype}")
        shape = shape_of(entry.get("shape"), spec, max_rows)
        if rows and rows != shape[0]:
            raise malformed(f"the inputs have different numbers of rows: {rows} and {shape[0]}")
        rows = shape[0]
        size = _parameters(entry, name).get("binary_data_size") if "parameters" in entry else None
        if size is None:
            arrays[name] = from_json(entry.get("data"), shape, spec, has_booleans)
            continue
        if tail is None or "data" in entry or type(size) is not int or not 0 <= size <= len(tail) - start:
            raise malformed(f"input '{name}': binary_data_size needs so many bytes behind the JSON, "
                            "Inference-Header-Content-Length, and no 'data'")  # fmt: skip
        arrays[name] = from_bytes(tail[start : start + size], shape, spec)
        start += size
    if tail is not None and start != len(tail):
        raise malformed(f"{len(tail) - start} bytes behind the JSON belong to no input")
    if len(arrays) != len(signature.inputs):
        raise malformed(f"'inputs' must have {', '.join(name for name in signature.inputs if name not in arrays)}")
    return arrays, rows


def _outputs(given: dict[str, Any], parameters: Mapping[str, Any], signature: Signature) -> list[tuple[str, bool]]:
    binary = _flag(parameters, "binary_data_output", False)
    found = []
    for name, entry in _entries(given, "outputs", signature.outputs).items():
        wanted = _parameters(entry, name)
        if wanted.get("classification"):
            raise malformed(f"output '{name}': the classification extension is not offered here")
        found.append((name, _flag(wanted, "binary_data", binary)))
    return found or [(name, binary) for name in signature.outputs]


def _flag(parameters: Mapping[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if type(value) is not bool:
        raise malformed(f"parameter '{key}': expected true or false")
    return value
