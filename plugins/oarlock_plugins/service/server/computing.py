"""A batch of requests through an engine, and its outputs given back to each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oarlock_plugins.service.engines import Engine
from oarlock_plugins.service.server.protocol import InferRequest
from oarlock_plugins.service.server.refusals import Refused, malformed

Outputs = dict[str, np.ndarray]


def compute(engine: Engine, requests: Sequence[InferRequest]) -> list[Outputs | Refused]:
    """The outputs of each request; what an engine refuses is tried alone, so that one input fails for itself only."""
    try:
        return _run(engine, requests)
    except Exception as error:
        if len(requests) > 1:
            return [answer for one in requests for answer in compute(engine, [one])]
        text = " ".join(str(error).split())[:300]
        return [malformed(f"the model could not compute these inputs: {type(error).__name__}: {text}")]


def _run(engine: Engine, requests: Sequence[InferRequest]) -> list[Outputs | Refused]:
    if len(requests) == 1:
        # An engine reads memory as it lies; bytes behind a text lie anywhere.
        inputs = {name: np.require(array, requirements=["C", "A"]) for name, array in requests[0].inputs.items()}
    else:
        inputs = {name: np.concatenate([one.inputs[name] for one in requests]) for name in requests[0].inputs}
    outputs = engine(inputs)
    rows = sum(one.rows for one in requests)
    if wrong := [name for name, array in outputs.items() if array.shape[:1] != (rows,)]:
        raise ValueError(f"output {', '.join(wrong)} does not have a row for each of {rows} rows")
    answers: list[Outputs | Refused] = []
    start = 0
    for one in requests:
        answers.append({name: array[start : start + one.rows] for name, array in outputs.items()})
        start += one.rows
    return answers
