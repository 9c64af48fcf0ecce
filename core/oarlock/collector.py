"""Python's garbage collector while a process starts, which makes much and throws little of it away."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

# Objects that are made, and not freed, until garbage is looked for while it is held: some tens of megabytes.
HELD = 100_000
_before: tuple[int, int, int] | None = None


def hold() -> None:
    """Look for garbage seldom until `release`, which must come before anything that lasts.

    For a process that is oarlock's alone.
    """
    global _before
    if _before is None:
        _before = gc.get_threshold()
        gc.set_threshold(HELD, *_before[1:])


def release() -> None:
    """If it was held, look as often as before. What there is now stays until the end of the process, and is left out."""
    global _before
    if _before is not None:
        gc.freeze()
        gc.set_threshold(*_before)
        _before = None


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """While open, nothing is collected. What was held is released at its end.

    In a process that others have a part in all is looked at afterwards: what else is there might be garbage one day.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        release()
        if enabled:
            gc.enable()
