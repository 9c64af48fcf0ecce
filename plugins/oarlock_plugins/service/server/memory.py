"""Memory that goes back to the system: a server shall be as large after its largest request as before.

And a collector of garbage that does not look at what stays: requests leave next to none behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 256 << 10


def give_back() -> None:
    """Have large blocks mapped one by one, and unmapped when they are freed.

    glibc raises that threshold by itself up to 32 MiB with the first large block that is freed, keeps what is freed then,
    and does so for each thread.
    """
    with contextlib.suppress(OSError, AttributeError):  # another libc: it has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, 4 * _LARGE), (_M_ARENA_MAX, 2)):
            mallopt(option, value)


def leave_alone() -> None:
    """Have the collector leave what is there now out, and look at the rest after tens of thousands of new objects.

    In the middle of requests it would look at all modules again and again, for a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
