"""What holds for each tracker."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from oarlock_plugins.trackers import tracker
from oarlock_plugins.trackers.tracker import Tracker
from tests.conftest import equal_ends
from tests.plugins.trackers import test_mlflow as mlflow
from tests.plugins.trackers import test_tensorboard as tensorboard
from tests.plugins.trackers import test_visualdl as visualdl
from tests.plugins.trackers.runs import JOB, rows_of, without

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


@pytest.mark.skipif(not os.path.exists("/proc"), reason="needs a folder that nobody can write to")
@pytest.mark.parametrize("tracker", ["tensorboard", "visualdl"])
def test_a_folder_that_cannot_be_made_is_an_error_before_the_first_step(oarlock, tracker):
    where = f"callback.{tracker}.directory=/proc/nowhere"
    done = oarlock("train", *JOB, f"+callback={tracker}", where, "hydra.run.dir=run")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: callback={tracker}: it cannot be written to: ")
    assert "/proc/nowhere" in done.stderr
    assert "Traceback" not in done.stderr


SHARE = """
from oarlock import component, hookimpl
from oarlock_plugins.tasks.classification import Accuracy, Classification

@component
class Share(Classification):
    @hookimpl
    def build_metrics(self, data):
        return {"top-1% (all)": Accuracy()}

@hookimpl
def register_components(register):
    register("task/share", Share)
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("tracker", "name"), [("mlflow", "valid/top-1_ _all_"), ("tensorboard", "valid/top-1___all_"),
                                               ("visualdl", "valid/top-1_ (all)")])  # fmt: skip
def test_a_metric_whose_name_the_tool_does_not_take(oarlock, tmp_path, plugin, tracker, name):
    done = oarlock("train", *JOB, "task=share", f"callback=[{tracker}]", "hydra.run.dir=run", env=plugin(SHARE))
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    if tracker == "mlflow":
        uri = os.environ["MLFLOW_TRACKING_URI"]
        found = mlflow.curve(uri, *mlflow.runs(uri), name)
    elif tracker == "tensorboard":
        found = tensorboard.read(tmp_path / "run" / "tensorboard")[0][name]
    else:
        found = visualdl.read(tmp_path / "run" / "visualdl")[name]
    rows = rows_of(tmp_path / "run")["valid/top-1% (all)"]
    assert found == [(step, pytest.approx(value)) for step, value in rows]


class Failing(Tracker):
    """Fails to write as often as it is told to."""

    name = "failing"

    def __init__(self, failures):
        self.failures, self.tried, self.written, self.ended = failures, 0, [], ""

    def open(self, run, values):
        pass

    def write(self, row, step, time):
        self.tried += 1
        if self.tried <= self.failures:
            raise OSError("nobody answers")
        self.written.append(step)

    def close(self, status):
        self.ended = status


@pytest.mark.parametrize("failures", [3, 1000])
def test_what_cannot_be_written_is_tried_after_longer_and_longer_pauses_and_at_the_end(monkeypatch, capsys, failures):
    clock = [0.0]
    monkeypatch.setattr(tracker.time, "monotonic", lambda: clock[0])
    run = SimpleNamespace(destination=Path("runs/a"), values={}, history=[], metrics={}, status="completed", step=0)
    failing, tries = Failing(failures), []
    failing.on_run_start(run)
    for second in range(60):
        clock[0] = float(second)
        run.step = second
        run.history.append({"epoch": second, "step": second, "time": 0.0, "valid/loss": 1.0})
        before = failing.tried
        failing.on_evaluation_end(run)
        tries += [second] if failing.tried > before else []
    assert tries[:4] == [0, 5, 15, 35]
    failing.on_run_end(run)
    assert failing.ended == "completed"
    said = capsys.readouterr().err
    assert said.count("nobody answers; it is tried again later") == 1
    assert failing.written == (list(range(60)) if failures == 3 else [])
    assert ("60 of its rows are in the run's folder alone" in said) == (failures == 1000)
