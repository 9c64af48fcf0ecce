"""Classes by number: from names or numbers as a file has them."""

from __future__ import annotations

import re
from enum import Enum

from oarlock import UserError, nearest

WHOLE = re.compile(r"[+-]?\d+")
# Above it whole numbers are rather amounts than classes, and the user is asked.
MOST_NUMBERED = 100
ASK = "Say what they are: data.target_kind=numbers, or data.target_kind=classes."


class TargetKind(Enum):
    """What the targets are."""

    auto = "auto"
    classes = "classes"
    numbers = "numbers"


def infer_classes(values):
    """The names of the classes that targets tell of.

    Args:
        values: an array of any shape. Texts are names, sorted, those that are whole numbers by their value; numbers are
            classes from 0 to the largest.
    """
    import numpy as np

    if values.dtype.kind in "US":
        names = [str(name) for name in np.unique(values.astype(str))]
        return sorted(names, key=int) if all(map(WHOLE.fullmatch, names)) else names
    return [str(number) for number in range(int(values.max(initial=0)) + 1)]


def encode(values, class_names, where):
    """Targets as class numbers, int64, in the shape of `values`.

    Args:
        values: names, or class numbers, which may be floats. Whole numbers in texts are class numbers only where no
            class is called by one: a stray text must not turn all others from names into numbers.
        class_names: by number.
        where: from the place of a row to what a person calls it, `lambda row: f"rows.csv, line {row + 2}"`.

    Raises:
        UserError: one is no class; it names the row and the nearest class.
    """
    import numpy as np

    numbers = {str(name): number for number, name in enumerate(class_names)}
    kind = values.dtype.kind
    if kind in "US":
        texts = values.astype(str)
        names, places = np.unique(texts, return_inverse=True)
        known = numbers
        if all(map(WHOLE.fullmatch, names)) and not any(map(WHOLE.fullmatch, numbers)):
            known = {name: int(name) for name in names if 0 <= int(name) < len(class_names)}
        unknown = [name for name in names if name not in known]
        if unknown:
            row = int(np.argwhere(texts == unknown[0])[0][0])
            raise UserError(f"{where(row)}: '{unknown[0]}' is no class. {nearest(unknown[0], numbers)}")
        return np.array([known[name] for name in names], "int64")[places].reshape(values.shape)
    whole = kind == "f" and bool(np.all(values == np.floor(values)))  # infinity too, which is found below
    if kind not in "iub" and not whole:
        raise UserError(f"{where(0)}: the targets are {values.dtype}; expected class names, or numbers from 0 to "
                        f"{len(class_names) - 1}.")  # fmt: skip
    wrong = np.argwhere((values < 0) | (values >= len(class_names)))
    if len(wrong):
        number = values[tuple(wrong[0])]
        raise UserError(f"{where(int(wrong[0][0]))}: {number} is no class; expected 0 to {len(class_names) - 1}.")
    return values.astype("int64")
