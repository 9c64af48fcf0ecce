"""The weights of an earlier run's checkpoint, for another to begin with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from oarlock import checkpoint
from oarlock.errors import RunFailed, UserError, warn
from oarlock.record import RunFolder
from oarlock.run import Run


def warm_start(run: Run, source: Path) -> None:
    """Begin with the best weights of another run.

    Raises:
        UserError: there are none, or they do not fit this model.
    """
    try:
        RunFolder(source)
    except UserError as error:
        raise UserError(f"trainer.init_from={error}") from error
    files, _ = checkpoint.intact(source)
    if not files:
        raise UserError(f"trainer.init_from={source}: it has no intact checkpoint.")
    names = json.loads(files[checkpoint.STATE]).get("class_names")
    if names != run.class_names:
        warn(
            f"trainer.init_from={source}: it was trained on {described(names)}; this data has {described(run.class_names)}"
        )
    arrays = checkpoint.unpack_arrays(files.get(checkpoint.BEST, files[checkpoint.MODEL]))
    try:
        checkpoint.load_weights(run.model, arrays, str(source))
    except RunFailed as error:
        raise UserError(f"trainer.init_from={source}: {error}.") from error


def described(names: Sequence[str] | None) -> str:
    """Class names for an error, the first of them."""
    if names is None:
        return "numbers to predict"
    return f"the classes {', '.join(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
