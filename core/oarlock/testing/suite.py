"""The test that `oarlock.testing.plugin` runs for each check of each component named on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.testing import Subject, checks_for


@pytest.mark.filterwarnings("ignore:When training, we now always track global mean:UserWarning")  # Paddle's own
def test_conformance(oarlock_check: tuple[str, str], request: Any, tmp_path: Any) -> None:
    path, name = oarlock_check
    checks_for(path)[name](Subject(path, request.config.getoption("--override"), tmp_path))
