"""Packages that are no part of oarlock, installed by pip for the processes of these tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parent / "packages"


def install(tmp_path_factory, name):
    """The environment of a user who has installed one of the packages."""
    site = tmp_path_factory.mktemp("site")
    source = shutil.copytree(PACKAGES / name, tmp_path_factory.mktemp("source") / name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site]
    subprocess.run([*pip, source], check=True, capture_output=True)
    return {"PYTHONPATH": str(site)}


@pytest.fixture(scope="session")
def stroke(tmp_path_factory):
    return install(tmp_path_factory, "oarlock-stroke")


@pytest.fixture(scope="session")
def leaks(tmp_path_factory):
    return install(tmp_path_factory, "oarlock-leaks")
