"""Other lengths, where the data says that any will do: which the trained model takes, and what it answers then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from oarlock_plugins.service.bundle import TensorSpec, resized
from oarlock_plugins.service.export import parity
from oarlock_plugins.service.export.answering import Answers
from oarlock_plugins.service.export.errors import NotExportable
from oarlock_plugins.service.export.rows import RealRows

ROWS = 8
# The double, since strides divide it too; fewer, since a table of positions may end at the length of the data.
CHANGES = (lambda size: 2 * size, lambda size: size + 1, lambda size: size - 1, lambda size: size // 2)

Checked = tuple[RealRows, dict[str, np.ndarray]]


def other_lengths(answers: Answers, rows: RealRows, tolerance: float) -> list[Checked]:
    """A few rows of other lengths, with what the trained model answers; none where it takes one length alone."""
    if not any(-1 in spec.shape for spec in answers.inputs):
        return []
    found = []
    for change in CHANGES:
        inputs = {}
        for spec in answers.inputs:
            array = rows.inputs[spec.name][:ROWS]
            sizes = zip(array.shape[1:], spec.shape, strict=True)
            inputs[spec.name] = resized(array, [max(1, change(size)) if free < 0 else size for size, free in sizes])
        shapes = ", ".join(f"{name} {list(array.shape[1:])}" for name, array in inputs.items())
        other = replace(rows, inputs=inputs, numbers=rows.numbers[:ROWS], split=f"{rows.split} with {shapes}")
        try:
            found.append((other, parity.expected_answers(answers, other, tolerance)))
        except NotExportable:  # a length that the model was not made for
            continue
    return found


def of_any_length(outputs: Sequence[TensorSpec], others: Sequence[Checked]) -> tuple[TensorSpec, ...]:
    """The outputs, with -1 for each size that differs at another length.

    Raises:
        NotExportable: the number of axes does.
    """
    specs = []
    for spec in outputs:
        shape = spec.shape
        for _, expected in others:
            given = expected[spec.name].shape[1:]
            if len(given) != len(shape):
                raise NotExportable(f"export: the prediction {spec.name} has {len(shape)} axes at one length of the "
                                    f"inputs and {len(given)} at another; expected as many at each.")  # fmt: skip
            shape = tuple(size if size == other else -1 for size, other in zip(shape, given, strict=True))
        specs.append(replace(spec, shape=shape))
    return tuple(specs)
