"""Memory that goes back to the system: a server shall be as large after its largest request as before.

And a collector of garbage that does not look at what stays.
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
    """Have the collector leave out what is there now, all the modules: it would look at them again and again.

    It looks at the rest as often as ever. A refused request is garbage that holds a body until then.
    """
    gc.collect()
    gc.freeze()
