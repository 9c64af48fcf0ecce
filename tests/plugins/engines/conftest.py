from __future__ import annotations

import pytest

from oarlock.runtime import setup_runtime


@pytest.fixture(scope="session", autouse=True)
def _tuned():
    """MKL reads its setting at the first product of a process, which here may be a test's own."""
    setup_runtime(tune=True)
