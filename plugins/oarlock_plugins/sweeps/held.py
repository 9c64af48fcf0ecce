"""Who works on a trial: its worker holds the trial's log, so that what a lost driver left behind is waited for.

The lock of a run's folder would not do: a worker builds a run for seconds before there is a folder.
"""

from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path

# How long a run may take to come to a point where it can be saved, when the driver is gone.
GRACE_SECONDS = 10.0


def hold(descriptor: int) -> None:
    """Hold a log, until the descriptor is closed or this process ends, where its disk knows locks."""
    with contextlib.suppress(OSError):
        # A record lock belongs to this process; a loader process that outlives it must not inherit it.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(log: Path) -> bool:
    """Whether another process holds a log."""
    try:
        with log.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
