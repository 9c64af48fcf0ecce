"""What a model answers to a block: in batches, with a gap where a row was faulty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from oarlock import UserError
from oarlock_plugins.data.npy_files import first_line
from oarlock_plugins.service.bundle import Bundle, TensorSpec, resized
from oarlock_plugins.service.engines import Engine
from oarlock_plugins.service.predict.rows import Parsed
from oarlock_plugins.service.predict.sources import Source

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
        for spec in outputs:
            if found[spec.name].shape[1:] != spec.shape:
                raise ValueError(f"the model's {spec.name} has the shape {list(found[spec.name].shape[1:])} for these "
                                 f"rows; expected {list(spec.shape)}")  # fmt: skip
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


def settled(
    outputs: Sequence[TensorSpec], bundle: Bundle, engine: Engine, files: Sequence[tuple[Path, Source]]
) -> tuple[TensorSpec, ...]:
    """The outputs with the shapes that they have for the rows of these files, where the model takes any length.

    Raises:
        UserError: the model does not take one of the files' lengths, or its answers to two files differ in shape.
    """
    if not any(-1 in spec.shape for spec in bundle.inputs):
        return tuple(outputs)
    reference = bundle.reference()[0]
    given: dict[tuple[TensorSpec, ...], Path] = {}
    for path, source in files:
        row = {spec.name: resized(reference[spec.name][:1], spec.shape) for spec in source.inputs}
        try:
            found = engine(row)
        except Exception as error:  # whatever an engine raises
            trained = [replace(spec, shape=reference[spec.name].shape[1:]) for spec in bundle.inputs]
            raise UserError(f"--input {path}: the model does not answer rows of {_shapes(source.inputs)}: "
                            f"{first_line(error)}\nIt was trained on rows of {_shapes(trained)}.") from error  # fmt: skip
        given.setdefault(tuple(replace(spec, shape=found[spec.name].shape[1:]) for spec in outputs), path)
    if len(given) > 1:
        (one, first), (other, second) = list(given.items())[:2]
        raise UserError(f"--input {first} {second}: the model gives {_shapes(one)} and {_shapes(other)}; "
                        "a file of answers holds one shape.\nPredict each into a file of its own.")  # fmt: skip
    return next(iter(given))


def batch_rows(inputs: Sequence[TensorSpec]) -> int:
    """How many rows an engine gets at once: many small ones, few large ones."""
    row = sum(
        int(np.prod([abs(size) for size in spec.shape], dtype=int)) * np.dtype(spec.dtype).itemsize for spec in inputs
    )
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, row)))


def _shapes(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)
