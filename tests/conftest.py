"""What many tests share: the command as a real process, and MNIST where it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oarlock.device import import_paddle

# Paddle warns while it is imported; here warnings are errors.
import_paddle()

ROOT = Path(__file__).parents[1]
MNIST = Path(os.environ.get("OARLOCK_MNIST", ROOT.parent / "shared" / "data" / "mnist"))


def pytest_collection_modifyitems(config, items):
    """The full counts run only where they are asked for, with `-m soak`."""
    if "soak" not in (config.getoption("-m") or ""):
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="full counts: run `make soak`"))


@pytest.fixture
def mnist():
    """The folder with MNIST's IDX files."""
    if not (MNIST / "train-images-idx3-ubyte.gz").is_file():
        assert not os.environ.get("CI"), f"CI must have MNIST; it is not at {MNIST}"
        pytest.skip(f"MNIST is not at {MNIST}; set OARLOCK_MNIST")
    return MNIST


@pytest.fixture
def oarlock(tmp_path):
    """Run `oarlock` as a user does, in an empty folder; returns the completed process."""

    def run(*arguments, cwd=tmp_path, env=None, timeout=120):
        return subprocess.run(
            command(*arguments), cwd=cwd, env=environment(env), capture_output=True, text=True, timeout=timeout
        )

    return run


@pytest.fixture
def plugin(tmp_path):
    """Install a one-module plugin for child processes; returns the environment in which they find it."""

    def install(source, name="stranger"):
        folder = tmp_path / "site"
        info = folder / f"oarlock_{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}_module.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: oarlock-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[oarlock]\n{name} = {name}_module\n")
        return {"PYTHONPATH": str(folder)}

    return install


def command(*arguments):
    """The command line of `oarlock` in this environment."""
    return [sys.executable, "-m", "oarlock", *map(str, arguments)]


def environment(extra=None):
    """This process's environment, without what would change an error's form."""
    env = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", "COLUMNS")}
    # Tests run side by side on few cores; one thread each is what a sweep would give a trial.
    return {**env, "OMP_NUM_THREADS": "1", **(extra or {})}
