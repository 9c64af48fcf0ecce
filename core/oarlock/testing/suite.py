"""The test that `oarlock.testing.plugin` runs for each check of each component named on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.testing import Checker

_checkers: dict[str, Checker] = {}


@pytest.mark.filterwarnings("ignore:When training, we now always track global mean:UserWarning")  # Paddle's own
def test_conformance(oarlock_check: tuple[str, str], request: Any, tmp_path: Any, tmp_path_factory: Any) -> None:
    path, name = oarlock_check
    checker = _checkers.setdefault(path, Checker(path, request.config.getoption("--override")))
    checker(name, tmp_path, tmp_path_factory)
