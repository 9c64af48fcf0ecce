"""The Open Inference Protocol v2: an infer request read and checked against the model, its answer written.

The binary tensor extension is part of both: the body begins with JSON of a length that a header names, and the bytes of
the tensors follow in the order in which the JSON names them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from oarlock import nearest
from oarlock_plugins.service.bundle import Bundle, TensorSpec
from oarlock_plugins.service.server.refusals import Refused, malformed
from oarlock_plugins.service.server.tensors import from_bytes, from_json, shape_of


@dataclass(slots=True)
class InferRequest:
    """A request that a model can compute.

    Attributes:
        inputs: by name.
        rows: the length of their first axis.
        id: what the client calls it.
        outputs: the names that are asked for, each with whether as bytes.
        timeout: the client's own, in seconds.
    """

    inputs: dict[str, np.ndarray]
    rows: int
    id: str | None
    outputs: list[tuple[str, bool]]
    timeout: float | None


def read_request(body: bytes, header_length: bytes | None, bundle: Bundle, max_rows: int) -> InferRequest:
    """An infer request of its body.

    Args:
        body: unpacked.
        header_length: the header Inference-Header-Content-Length; None where there is none.
        bundle: the model's.
        max_rows: of a request.

    Raises:
        Refused: anything in it is not what the protocol or the model wants.
    """
    text, tail = _split(body, header_length)
    given = _parse(text)
    _no_key_twice(text, given)
    parameters = _parameters(given, "the request")
    id_ = given.get("id")
    if id_ is not None and not isinstance(id_, str):
        raise malformed("expected 'id' to be a text")
    # NumPy takes true for 1. Two letters that no number has are found faster than the words.
    has_booleans = (b"r" in text and b"true" in text) or (b"l" in text and b"false" in text)
    inputs, rows = _inputs(given, tail, bundle, max_rows, has_booleans)
    outputs = _outputs(given, parameters, bundle)
    timeout = parameters.get("timeout")  # Triton's, in microseconds
    if timeout is not None and (type(timeout) is not int or timeout < 0):
        raise malformed("parameter 'timeout': expected microseconds, a whole number")
    return InferRequest(inputs, rows, id_, outputs, timeout / 1e6 if timeout else None)


def write_response(
    request: InferRequest, outputs: Mapping[str, np.ndarray], bundle: Bundle, name: str, version: str
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where bytes follow it.

    Raises:
        Refused: a value has no form in JSON.
    """
    described, chunks = [], []
    for output, binary in request.outputs:
        array = outputs[output]
        entry = {"name": output, "datatype": _spec(bundle.outputs, output).datatype, "shape": array.shape}
        if binary:
            raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
            entry["parameters"] = {"binary_data_size": len(raw)}
            chunks.append(raw)
        else:
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise Refused(400, f"output '{output}' is not finite for these inputs, and JSON cannot say so; "
                              "ask for it with the parameter binary_data", "not_finite")  # fmt: skip
            entry["data"] = np.ascontiguousarray(array).reshape(-1)
        described.append(entry)
    answer = {"model_name": name, "model_version": version, "outputs": described}
    if request.id is not None:
        answer["id"] = request.id
    text = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([text, *chunks]), len(text)) if chunks else (text, None)


def _split(body: bytes, header_length: bytes | None) -> tuple[bytes, memoryview | None]:
    if header_length is None:
        return body, None
    if not header_length.isdigit() or len(header_length) > 12 or int(header_length) > len(body):
        shown = header_length[:20].decode("ascii", "replace")
        raise malformed(f"Inference-Header-Content-Length: {shown}: expected at most the body's {len(body)} bytes")
    length = int(header_length)
    return body[:length], memoryview(body)[length:]


def _parse(text: bytes) -> dict[str, Any]:
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise malformed(f"the body is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise malformed("expected a JSON object")
    return given


def _no_key_twice(text: bytes, given: dict[str, Any]) -> None:
    """Of two equal keys parsers disagree which one counts; orjson keeps the last and says nothing."""
    if text.count(b":") == _keys(given):
        return  # a colon a key, and none in a text

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise malformed("a key stands twice in one JSON object")
        return found

    try:
        json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise malformed("the body is nested too deeply, or not JSON") from error


def _keys(value: Any, depth: int = 5) -> int:
    """The keys of the objects where the protocol has objects; others are not counted, and so are looked at."""
    if depth == 0 or not value:
        return 0
    if isinstance(value, dict):
        return len(value) + sum(_keys(one, depth - 1) for one in value.values() if isinstance(one, (dict, list)))
    return sum(_keys(one, depth - 1) for one in value if type(one) is dict) if type(value[0]) is dict else 0


def _parameters(holder: dict[str, Any], what: str) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise malformed(f"{what}: expected 'parameters' to be an object")
    if any(key.startswith("shared_memory") for key in parameters):
        raise malformed(f"{what}: shared memory is not offered here; send the values, or bytes with binary_data_size")
    return parameters


def _entries(given: dict[str, Any], key: str, specs: tuple[TensorSpec, ...]) -> list[tuple[dict[str, Any], TensorSpec]]:
    entries = given.get(key, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise malformed(f"expected '{key}' to be a list of objects")
    found: dict[str, tuple[dict[str, Any], TensorSpec]] = {}
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str):
            raise malformed(f"an entry of '{key}' has no 'name'")
        spec = _spec(specs, name)
        if spec is None:
            hint = nearest(name[:100], [one.name for one in specs])
            raise malformed(f"the model has no {key.removesuffix('s')} '{name[:100]}'. {hint}")
        if name in found:
            raise malformed(f"'{name}' stands twice in '{key}'")
        found[name] = entry, spec
    return list(found.values())


def _spec(specs: tuple[TensorSpec, ...], name: str) -> TensorSpec | None:
    return next((spec for spec in specs if spec.name == name), None)


def _inputs(
    given: dict[str, Any], tail: memoryview | None, bundle: Bundle, max_rows: int, has_booleans: bool
) -> tuple[dict[str, np.ndarray], int]:
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for entry, spec in _entries(given, "inputs", bundle.inputs):
        if entry.get("datatype") != spec.datatype:
            raise malformed(f"input '{spec.name}': datatype {str(entry.get('datatype'))[:20]}; the model takes "
                            f"{spec.datatype}")  # fmt: skip
        shape = shape_of(entry.get("shape"), spec, max_rows)
        size = _parameters(entry, f"input '{spec.name}'").get("binary_data_size")
        if size is None:
            arrays[spec.name] = from_json(entry.get("data"), shape, spec, has_booleans)
            continue
        if tail is None or "data" in entry or type(size) is not int or not 0 <= size <= len(tail) - start:
            raise malformed(f"input '{spec.name}': binary_data_size needs so many bytes behind the JSON, "
                            "Inference-Header-Content-Length, and no 'data'")  # fmt: skip
        arrays[spec.name] = from_bytes(tail[start : start + size], shape, spec)
        start += size
    if tail is not None and start != len(tail):
        raise malformed(f"{len(tail) - start} bytes behind the JSON belong to no input")
    if missing := [spec.name for spec in bundle.inputs if spec.name not in arrays]:
        raise malformed(f"'inputs' must have {', '.join(missing)}")
    rows = {len(array) for array in arrays.values()}
    if len(rows) != 1:
        raise malformed(f"the inputs have different numbers of rows: {', '.join(map(str, sorted(rows)))}")
    return arrays, rows.pop()


def _outputs(given: dict[str, Any], parameters: dict[str, Any], bundle: Bundle) -> list[tuple[str, bool]]:
    binary = _flag(parameters, "binary_data_output", False)
    found = []
    for entry, spec in _entries(given, "outputs", bundle.outputs):
        wanted = _parameters(entry, f"output '{spec.name}'")
        if wanted.get("classification"):
            raise malformed(f"output '{spec.name}': the classification extension is not offered here")
        found.append((spec.name, _flag(wanted, "binary_data", binary)))
    return found or [(spec.name, binary) for spec in bundle.outputs]


def _flag(parameters: dict[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise malformed(f"parameter '{key}': expected true or false")
    return value
