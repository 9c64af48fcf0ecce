"""A pytest plugin that runs the kit without a test file: `pytest -p oarlock.testing.plugin --component optimizer/lion`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oarlock.testing import checks_for

SUITE = Path(__file__).with_name("suite.py")


def pytest_addoption(parser: Any) -> None:
    group = parser.getgroup("oarlock")
    group.addoption("--component", action="append", default=[], metavar="GROUP/NAME", help="check this component")
    group.addoption("--override", action="append", default=[], metavar="KEY=VALUE", help="what it needs beside it")


def pytest_load_initial_conftests(early_config: Any, parser: Any, args: list[str]) -> None:
    if any(word.partition("=")[0] == "--component" for word in args):
        args.append(str(SUITE))


def pytest_generate_tests(metafunc: Any) -> None:
    if "oarlock_check" in metafunc.fixturenames:
        paths = metafunc.config.getoption("--component")
        cases = [(path, name) for path in paths for name in checks_for(path)]
        metafunc.parametrize("oarlock_check", cases, ids=[f"{path}-{name}" for path, name in cases])
