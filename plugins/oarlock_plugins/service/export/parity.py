"""The parity gate: nothing is published that answers otherwise than the trained model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from oarlock_plugins.service.engines import Engine
from oarlock_plugins.service.export.errors import NotExportable
from oarlock_plugins.service.export.rows import RealRows

ROWS = 256
CHUNK = 64
# Rows that come alone, by odd numbers and by round ones must be answered alike.
SIZES = (1, 1, 1, 3, 7, 31, CHUNK)

Arrays = Mapping[str, np.ndarray]


def expected_answers(eager: Engine, rows: RealRows, tolerance: float) -> dict[str, np.ndarray]:
    """What the trained model answers, if that is a function of each row alone and finite.

    Raises:
        NotExportable: it names the output and the row.
    """
    expected = in_batches(eager, rows.inputs, (CHUNK,))
    for name, array in expected.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            row = int(np.argmax(~np.isfinite(array).reshape(len(array), -1).all(1)))
            raise NotExportable(f"export: the trained model answers {name} of {rows.where(row)} with what is no "
                                "finite number.")  # fmt: skip
    fault = first_fault(in_batches(eager, rows.inputs, SIZES), expected, tolerance)
    if fault is not None:
        name, row, difference = fault
        raise NotExportable(f"export: the model's {name} of {rows.where(row)} depends on which rows come with it: "
                            f"off by {difference:.3g}.\nA service answers rows in batches of any size.")  # fmt: skip
    return expected


def check_parity(kind: str, engine: Engine, rows: RealRows, expected: Arrays, tolerance: float) -> float:
    """The greatest difference of an engine's answers from those of the trained model.

    Raises:
        NotExportable: one is beyond the tolerance; it names the output and the row.
    """
    try:
        found = in_batches(engine, rows.inputs, SIZES)
    except Exception as error:  # an engine's own
        raise NotExportable(f"export: {kind} does not run the exported model on rows of {rows.split}: "
                            f"{str(error).strip()[:300]}") from error  # fmt: skip
    fault = first_fault(found, expected, tolerance)
    if fault is not None:
        name, row, difference = fault
        raise NotExportable(f"export: {kind} answers otherwise than the trained model: {name} of {rows.where(row)} is "
                            f"off by {difference:.3g}; allowed are {tolerance:g}.\nNothing was published. If that is "
                            "rounding, allow it with --tolerance.")  # fmt: skip
    return max((float(np.max(off(found[name], array), initial=0.0)) for name, array in expected.items()
                if np.issubdtype(array.dtype, np.floating)), default=0.0)  # fmt: skip


def in_batches(engine: Engine, inputs: Arrays, sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The answers to all rows, asked for in batches of these sizes, the last one again and again."""
    parts = [engine({name: array[part] for name, array in inputs.items()})
             for part in _slices(len(next(iter(inputs.values()))), sizes)]  # fmt: skip
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def first_fault(found: Arrays, expected: Arrays, tolerance: float) -> tuple[str, int, float] | None:
    """The output, the row and the difference of the worst answer that is beyond the tolerance."""
    for name, wanted in expected.items():
        if found[name].shape != wanted.shape or found[name].dtype != wanted.dtype:
            return name, 0, float("inf")
        difference = off(found[name], wanted)
        if np.issubdtype(wanted.dtype, np.floating):
            beyond = ~(difference <= tolerance * (1 + np.abs(wanted.astype("float64"))))  # NaN is beyond
        else:
            beyond = (difference > 0) & ~near_tie(name, found[name], expected, tolerance)
        if beyond.any():
            worst = np.where(beyond, np.nan_to_num(difference, nan=np.inf), -1).reshape(len(wanted), -1).max(1)
            return name, int(worst.argmax()), float(worst.max())
    return None


def near_tie(name: str, found: np.ndarray, expected: Arrays, tolerance: float) -> np.ndarray:
    """Where another class is as good as the expected one: its score is no further away than rounding goes.

    A whole-number output is taken for a choice along the last axis of any float output that has one axis more.
    """
    wanted = expected[name]
    tied = np.zeros(wanted.shape, bool)
    for scores in expected.values():
        if not np.issubdtype(scores.dtype, np.floating) or scores.shape[:-1] != wanted.shape:
            continue
        valid = (found >= 0) & (found < scores.shape[-1]) & (wanted >= 0) & (wanted < scores.shape[-1])
        pair = [np.take_along_axis(scores, np.where(valid, choice, 0)[..., None].astype("int64"), -1)[..., 0]
                for choice in (found, wanted)]  # fmt: skip
        tied |= valid & (np.abs(pair[0] - pair[1]) <= 2 * tolerance * (1 + np.abs(pair[1])))
    return tied


def off(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """How far apart, in double precision."""
    difference: np.ndarray = np.abs(found.astype("float64") - wanted.astype("float64"))
    return difference


def _slices(rows: int, sizes: tuple[int, ...]) -> Iterator[slice]:
    start, turn = 0, 0
    while start < rows:
        size = sizes[min(turn, len(sizes) - 1)]
        yield slice(start, min(start + size, rows))
        start, turn = start + size, turn + 1
