"""One process at a time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from oarlock import UserError, shown_path


@contextlib.contextmanager
def held(path: Path, message: str) -> Iterator[None]:
    """Hold a file against other processes; it is free again when this one ends, however it ends.

    Args:
        path: the file, which is made and stays.
        message: what to say where another process holds it.

    Raises:
        UserError: another process holds it, or the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise UserError(f"{shown_path(path)} cannot be written: {error.strerror}.") from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(message) from error
        yield


def held_versions(model: Path) -> contextlib.AbstractContextManager[None]:
    """Hold what is live of a model: it is being withdrawn or restored, or an update of it is being published.

    Raises:
        UserError: another process holds it.
    """
    return held(
        model / ".rollback.lock", f"{model.name}: a rollback or an update of it is just taking effect; try again."
    )
