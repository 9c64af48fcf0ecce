"""Rows on their way to the model: numbers of the right type, and what is wrong with those that are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from oarlock_plugins.service.bundle import TensorSpec


@dataclass
class Parsed:
    """A block of rows.

    Attributes:
        rows: how many there are, faulty ones included.
        inputs: of the sound rows, by name.
        sound: which rows these are.
        faults: what is wrong with the others, by row.
        lines: how many lines of a text file they are.
        line_of: on which of these lines a faulty row is.
    """

    rows: int
    inputs: dict[str, np.ndarray]
    sound: np.ndarray
    faults: dict[int, str] = field(default_factory=dict)
    lines: int = 0
    line_of: dict[int, int] = field(default_factory=dict)


def checked(
    columns: Mapping[str, np.ndarray],
    inputs: Sequence[TensorSpec],
    faults: dict[int, str],
    rows: int,
    name: Callable[[str, int], str],
) -> Parsed:
    """Values as the model takes them, each row of which is sound.

    Args:
        columns: by input, the values [rows, values] of those rows that have no fault yet.
        inputs: what the model takes.
        faults: what is wrong with the other rows.
        rows: how many there are with them.
        name: of an input's value, for the message.
    """
    there = np.array([row for row in range(rows) if row not in faults], "int64") if faults else np.arange(rows)
    kept = np.ones(len(there), bool)
    converted = {}
    for spec in inputs:
        values, bad, expected = convert(columns[spec.name], np.dtype(spec.dtype))
        if bad is not None:
            for row in np.flatnonzero(bad.any(axis=1) & kept):
                place = int(bad[row].argmax())
                faults[int(there[row])] = f"{name(spec.name, place)}: {columns[spec.name][row, place]} is {expected}"
            kept &= ~bad.any(axis=1)
        converted[spec.name] = values
    everything = bool(kept.all())
    arrays = {spec.name: (converted[spec.name] if everything else converted[spec.name][kept])
              .reshape(-1, *spec.shape) for spec in inputs}  # fmt: skip
    return Parsed(rows, arrays, there if everything else there[kept], faults)


def convert(values: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Values in another type, which of them it cannot hold, and what they are instead of what was expected."""
    if np.issubdtype(dtype, np.floating):
        with np.errstate(over="ignore"):
            found = values.astype(dtype, copy=False)
        # A sum is ten times as fast as a look at each value; where it is infinite without them, the look decides.
        with np.errstate(over="ignore", invalid="ignore"):
            finite = bool(np.isfinite(found.sum()))
        bad = None if finite else ~np.isfinite(found)
        return found, bad if bad is not None and bad.any() else None, "not a finite number"
    if dtype == np.bool_:
        bad = (values != 0) & (values != 1)
        return values.astype(bool), bad if bad.any() else None, "neither 0 nor 1"
    if values.dtype == dtype:
        return values, None, ""
    limits = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        if np.issubdtype(values.dtype, np.floating):
            # In double, and below the number behind the largest: the largest itself may be rounded up to that.
            wide = values.astype("float64", copy=False)
            bad = ~((wide >= float(limits.min)) & (wide < float(limits.max) + 1) & (wide == np.floor(wide)))
        else:
            bad = ~((values >= limits.min) & (values <= limits.max))
        found = np.where(bad, 0, values).astype(dtype)
    return found, bad if bad.any() else None, f"not a whole number from {limits.min} to {limits.max}"


def numeric(dtype: np.dtype) -> bool:
    """Whether a file's values can become a model's."""
    return dtype.kind in "biuf"
