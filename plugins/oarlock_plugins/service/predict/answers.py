"""What a model answers to a block: in batches, with a gap where a row was faulty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.engines import Engine
from oarlock_plugins.service.predict.rows import Parsed

BATCH_ROWS = 1024
BATCH_BYTES = 8 << 20


@dataclass(frozen=True)
class Answers:
    """The answers to a block.

    Attributes:
        outputs: by name, for every row; what stands in the row of a fault means nothing.
        faulty: which rows have no answer, or None where all have.
    """

    outputs: Mapping[str, np.ndarray]
    faulty: np.ndarray | None


def answer(engine: Engine, parsed: Parsed, outputs: Sequence[TensorSpec], batch_rows: int) -> Answers:
    """The answers to a block's sound rows, each at its row."""
    sound = len(parsed.sound)
    parts = []
    for start in range(0, sound, batch_rows):
        found = engine({name: array[start : start + batch_rows] for name, array in parsed.inputs.items()})
        parts.append({spec.name: found[spec.name] for spec in outputs})
    joined = {
        spec.name: np.concatenate([part[spec.name] for part in parts]) if parts
        else np.empty((0, *spec.shape), spec.dtype) for spec in outputs
    }  # fmt: skip
    if sound == parsed.rows:
        return Answers(joined, None)
    faulty = np.ones(parsed.rows, bool)
    faulty[parsed.sound] = False
    whole = {}
    for name, array in joined.items():
        whole[name] = np.zeros((parsed.rows, *array.shape[1:]), array.dtype)
        whole[name][parsed.sound] = array
    return Answers(whole, faulty)


def batch_rows(inputs: Sequence[TensorSpec]) -> int:
    """How many rows an engine gets at once: many small ones, few large ones."""
    row = sum(
        int(np.prod([abs(size) for size in spec.shape], dtype=int)) * np.dtype(spec.dtype).itemsize for spec in inputs
    )
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, row)))
