"""What holds for each tracker."""

from __future__ import annotations

import os

import pytest

from tests.conftest import equal_ends
from tests.plugins.trackers.runs import JOB, without

TRACKERS = {"mlflow": "mlflow", "tensorboard": "tensorboardX", "visualdl": "visualdl"}


@pytest.fixture(autouse=True)
def database(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_it_changes_nothing_in_a_run(oarlock, tmp_path, tracker):
    """Nor does it keep the step from being compiled."""
    job = [*JOB, "model.dropout=0.2", "trainer.engine=compiled"]
    assert oarlock("train", *job, "hydra.run.dir=alone").returncode == 0
    done = oarlock("train", *job, f"+callback={tracker}", "hydra.run.dir=tracked")
    assert (done.returncode, done.stderr.count("warning")) == (0, 0), done.stderr
    assert equal_ends(tmp_path / "alone", tmp_path / "tracked")


@pytest.mark.parametrize(("tracker", "package"), TRACKERS.items())
def test_a_package_that_is_missing_is_named_before_the_first_step(oarlock, tmp_path, tracker, package):
    done = oarlock("train", *JOB, f"+callback={tracker}", "hydra.run.dir=run", env=without(package, tmp_path / "site"))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: callback={tracker} needs {package}, which is not installed.\npip install 'oarlock[{tracker}]'\n"
    )


@pytest.mark.parametrize(("tracker", "package"), TRACKERS.items())
def test_its_runs_are_evaluated_where_it_is_not_installed(oarlock, tmp_path, tracker, package):
    assert oarlock("train", *JOB, f"+callback={tracker}", "hydra.run.dir=run").returncode == 0
    done = oarlock("evaluate", "run", env=without(package, tmp_path / "site"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/proc"), reason="needs a path that nobody can write")
@pytest.mark.parametrize("tracker", ["tensorboard", "visualdl"])
def test_a_folder_that_cannot_be_made_is_an_error_before_the_first_step(oarlock, tracker):
    where = f"callback.{tracker}.directory=/proc/nowhere"
    done = oarlock("train", *JOB, f"+callback={tracker}", where, "hydra.run.dir=run")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: callback={tracker}: it cannot be written to: ")
    assert "/proc/nowhere" in done.stderr
    assert "Traceback" not in done.stderr
