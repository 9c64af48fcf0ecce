"""The answer to an infer request, in JSON or with the bytes of its tensors behind the JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from oarlock_plugins.service.server.protocol import InferRequest, Signature
from oarlock_plugins.service.server.refusals import Refused


def write_response(
    request: InferRequest, outputs: Mapping[str, np.ndarray], signature: Signature, name: str, version: str
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where bytes follow it.

    Raises:
        Refused: a value has no form in JSON.
    """
    layout = request.layout
    if layout is not None:
        arrays = [outputs[name] for name, _ in request.outputs]
        shapes, text = layout.answered
        if shapes == [array.shape for array in arrays]:
            return b"".join([text, *map(_raw, arrays)]), len(text)
    described, chunks = [], []
    for output, binary in request.outputs:
        array = outputs[output]
        entry: dict[str, Any] = {"name": output, "datatype": signature.outputs[output].datatype, "shape": array.shape}
        if binary:
            raw = _raw(array)
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
    if layout is not None and len(chunks) == len(request.outputs):
        layout.answered = ([array.shape for array in arrays], text)
    return (b"".join([text, *chunks]), len(text)) if chunks else (text, None)


def _raw(array: np.ndarray) -> bytes:
    """The values in the protocol's order of bytes; an engine gives them in the machine's."""
    return (array if sys.byteorder == "little" else array.byteswap()).tobytes()
