"""The weights of an earlier run's checkpoint, for another to begin with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from oarlock import checkpoint
from oarlock.errors import RunFailed, UserError, warn
from oarlock.record import RunFolder
from oarlock.run import Run


def warm_start(run: Run, source: Path) -> None:
    """Begin with the best weights of another run.

    Raises:
        UserError: there are none, they do not fit this model, or they were trained on other columns.
    """
    try:
        RunFolder(source)
    except UserError as error:
        raise UserError(f"trainer.init_from={error}") from error
    files, _ = checkpoint.intact(source)
    if not files:
        raise UserError(f"trainer.init_from={source}: it has no intact checkpoint.")
    state = json.loads(files[checkpoint.STATE])
    if other := other_column(run, state):
        raise UserError(f"trainer.init_from={source}: {other}.\n"
                        "Its weights belong to a column each: give the same columns in the same order.")  # fmt: skip
    names = state.get("class_names")
    if names != run.class_names:
        warn(
            f"trainer.init_from={source}: it was trained on {described(names)}; this data has {described(run.class_names)}"
        )
    arrays = checkpoint.unpack_arrays(files.get(checkpoint.BEST, files[checkpoint.MODEL]))
    try:
        checkpoint.load_weights(run.model, arrays, str(source))
    except RunFailed as error:
        raise UserError(f"trainer.init_from={source}: {error}.") from error


def other_column(run: Run, state: Mapping[str, Any]) -> str:
    """What is said of the first column that is another one than at a checkpoint; nothing where the columns are the same.

    Args:
        run: what is to go on with the checkpoint.
        state: the checkpoint's; one without names of columns, as one of data that has none, is not compared.
    """
    trained, now = state.get("columns"), run.columns
    if trained is None or now is None:
        return ""
    for place, (one, other) in enumerate(zip_longest(trained, now, fillvalue="none"), 1):
        if one != other:
            return f"it was trained on data whose column {place} was {one}; in this data it is {other}"
    return ""


def described(names: Sequence[str] | None) -> str:
    """Class names for an error, the first of them."""
    if names is None:
        return "numbers to predict"
    return f"the classes {', '.join(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
