"""The answer to an infer request, in JSON or with the bytes of its tensors behind the JSON."""

from __future__ import annotations

from collections.abc import Mapping

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
    described, chunks = [], []
    for output, binary in request.outputs:
        array = outputs[output]
        entry = {"name": output, "datatype": signature.outputs[output].datatype, "shape": array.shape}
        if binary:
            raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
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
