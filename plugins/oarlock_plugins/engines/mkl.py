"""Which code of MKL's a process has asked for; what follows from it was seen with that code alone."""

from __future__ import annotations

import os

# MKL's settings for AVX2 and AVX-512, one of which the runtime of a run makes where the CPU gains from it.
PATH, AVX2, AVX512 = "MKL_DEBUG_CPU_TYPE", "5", "7"


def takes(path: str) -> bool:
    """Whether MKL was told to take this path, AVX2 or AVX512."""
    return os.environ.get(PATH) == path
