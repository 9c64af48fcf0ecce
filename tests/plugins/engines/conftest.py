from __future__ import annotations

from pathlib import Path

import pytest

from oarlock.runtime import mkl_paths, setup_runtime
from oarlock_plugins.engines import mkl

AVX2, AVX512 = {mkl.PATH: mkl.AVX2}, {mkl.PATH: mkl.AVX512}
needs_avx2 = pytest.mark.skipif(
    " avx2 " not in Path("/proc/cpuinfo").read_text(encoding="utf-8"), reason="this CPU has no AVX2"
)
needs_avx512 = pytest.mark.skipif(
    mkl.AVX512 not in mkl_paths(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
    reason="this CPU has no AVX-512 that MKL would have to be told of",
)


@pytest.fixture(scope="session", autouse=True)
def _tuned():
    """MKL reads its setting at the first product of a process, which here may be a test's own."""
    setup_runtime(tune=True)
