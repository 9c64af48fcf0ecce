from __future__ import annotations

from pathlib import Path

import pytest

from oarlock.runtime import setup_runtime
from oarlock_plugins.engines import mkl

AVX2 = {mkl.PATH: mkl.AVX2}
needs_avx2 = pytest.mark.skipif(
    " avx2 " not in Path("/proc/cpuinfo").read_text(encoding="utf-8"), reason="this CPU has no AVX2"
)


@pytest.fixture(scope="session", autouse=True)
def _tuned():
    """MKL reads its setting at the first product of a process, which here may be a test's own."""
    setup_runtime(tune=True)
