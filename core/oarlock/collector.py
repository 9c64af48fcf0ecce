"""Python's garbage collector while a process starts, which makes much and throws little of it away."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_held = False


def hold() -> None:
    """Collect nothing until `release`; for a process that is oarlock's alone."""
    global _held
    _held = True
    gc.disable()


def release() -> None:
    """Collect from now on, if it was held. What there is stays until the end of the process, and is not looked at."""
    global _held
    if _held:
        _held = False
        gc.freeze()
        gc.enable()


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
        if enabled:
            gc.enable()
        release()
