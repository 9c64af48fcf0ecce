"""Which code of MKL's a process has asked for; what follows from it was seen with that code alone."""

from __future__ import annotations

import os

# MKL's setting for AVX2, which the runtime of a run makes where the CPU gains from it.
PATH, AVX2 = "MKL_DEBUG_CPU_TYPE", "5"


def takes_avx2() -> bool:
    """Whether MKL was told to take its AVX2 path."""
    return os.environ.get(PATH) == AVX2
