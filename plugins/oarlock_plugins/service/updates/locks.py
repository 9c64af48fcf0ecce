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
