"""Bundles to try things on: each is made once, by the commands that a user types."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from oarlock_plugins.service.bundle import open_bundle
from tests.conftest import environment, install

ODD = Path(__file__).parent / "odd.py"


def run_command(forks, folder, *arguments, env=None, timeout=120):
    """Run `oarlock` in a folder; fails when it does."""
    done = forks.run(["oarlock", *map(str, arguments)], folder, environment(env), timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def trained(tmp_path_factory, forks):
    """A run on the digits."""
    folder = tmp_path_factory.mktemp("trained")
    run_command(forks, folder, "train", "model.widths=[32]", "trainer.epochs=3", "callback=[]", "hydra.run.dir=run")
    return folder / "run"


@pytest.fixture(scope="session")
def exported(trained, forks):
    """Its bundle, which no test may change."""
    run_command(forks, trained.parent, "export", trained, "--to", "bundle")
    return trained.parent / "bundle"


@pytest.fixture
def bundle(exported, tmp_path):
    """A copy of it, to do anything with."""
    return shutil.copytree(exported, tmp_path / "bundle")


@pytest.fixture(scope="session")
def each_step(tmp_path_factory, forks):
    """A run whose model answers each of any number of steps, its bundle beside it, and the environment with its plugin."""
    folder = tmp_path_factory.mktemp("steps")
    env = {"PYTHONPATH": str(install(folder, ODD.read_text()))}
    run_command(forks, folder, "train", "data=steps", "model=each_step", "task=regression", "trainer.max_steps=1",
                "callback=[]", "hydra.run.dir=run", env=env)  # fmt: skip
    run_command(forks, folder, "export", "run", "--to", "bundle", env=env)
    return folder / "run", env


@pytest.fixture(scope="session")
def digits():
    """Rows of the digits as the data gives them."""
    from oarlock_plugins.data.digits import Digits

    return Digits().build_data().valid.inputs


@pytest.fixture(scope="session")
def answers(exported, digits):
    """What the bundle answers to these rows."""
    from oarlock_plugins.service.engines import open_engine

    return open_engine(open_bundle(exported))({"inputs": np.ascontiguousarray(digits)})
