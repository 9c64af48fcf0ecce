"""MLflow's own client reads what is in its database, and what its server was told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.conftest import environment
from tests.plugins.trackers.runs import ENDS, JOB, rows_of, start, wait_for

# A database takes MLflow seconds to make; what it imports warns of itself.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def client(uri):
    from mlflow import MlflowClient

    return MlflowClient(uri)


def runs(uri, experiment="oarlock"):
    found = client(uri).get_experiment_by_name(experiment)
    return client(uri).search_runs([found.experiment_id], order_by=["attributes.start_time"])


def curve(uri, run, name):
    return sorted((one.step, one.value) for one in client(uri).get_metric_history(run.info.run_id, name))


@pytest.fixture
def uri(tmp_path):
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_numbers_options_and_the_end(oarlock, tmp_path, uri):
    done = oarlock("train", *JOB, "+callback=mlflow", "optimizer.learning_rate=0.05", "hydra.run.dir=runs/first",
                   env={"MLFLOW_TRACKING_URI": uri})  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = runs(uri)
    assert (run.info.run_name, run.info.status) == ("runs/first", "FINISHED")
    assert run.data.params["optimizer.learning_rate"] == "0.05"
    assert run.data.params["callback.mlflow.experiment"] == "oarlock"
    assert run.data.tags["oarlock.folder"] == str(tmp_path / "runs" / "first")
    for name, rows in rows_of(tmp_path / "runs" / "first").items():
        assert curve(uri, run, name) == rows
    assert [step for step, _ in curve(uri, run, "test/accuracy")] == [99]


@pytest.mark.long
def test_runs_that_fail_are_interrupted_or_killed_before_their_first_checkpoint(oarlock, tmp_path, plugin, uri):
    env = {**plugin(ENDS, "ends"), "MLFLOW_TRACKING_URI": uri}
    job = [*JOB, "callback=[mlflow,ends]", "callback.mlflow.experiment=ends"]
    assert oarlock("train", *job, "callback.ends.signal=0", "hydra.run.dir=fails", env=env).returncode == 1
    assert oarlock("train", *job, "callback.ends.signal=15", "hydra.run.dir=stops", env=env).returncode == 75
    assert oarlock("train", *job, "callback.ends.signal=9", "hydra.run.dir=killed", env=env).returncode == -9
    before = [(run.info.run_name, run.info.status) for run in runs(uri, "ends")]
    assert before == [("fails", "FAILED"), ("stops", "KILLED"), ("killed", "RUNNING")]
    for name in ("stops", "killed"):
        assert oarlock("resume", name, env={**env, "GOES_ON": "1"}).returncode == 0
    after = [(run.info.run_name, run.info.status) for run in runs(uri, "ends")]
    assert after == [("fails", "FAILED"), ("stops", "FINISHED"), ("killed", "FINISHED")]
    for run in runs(uri, "ends")[1:]:
        name = run.info.run_name
        assert sorted(set(curve(uri, run, "valid/loss"))) == rows_of(tmp_path / name)["valid/loss"]


@pytest.mark.long
def test_the_trials_of_a_sweep_that_make_the_database_at_the_same_moment(oarlock, tmp_path, uri):
    done = oarlock("train", "-m", *JOB, "+callback=mlflow", "seed=0,1,2,3", "hydra.sweep.dir=sweep",
                   env={"MLFLOW_TRACKING_URI": uri})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = {run.info.run_name: run for run in runs(uri)}
    assert sorted(found) == [f"sweep/{number}" for number in range(4)]
    for name, run in found.items():
        assert run.info.status == "FINISHED"
        assert curve(uri, run, "valid/loss") == rows_of(tmp_path / name)["valid/loss"]


def test_a_trial_that_got_its_folder_late_goes_on_in_its_curve(oarlock, tmp_path, uri):
    env = {"MLFLOW_TRACKING_URI": uri}
    done = oarlock("train", "-m", *JOB, "+callback=mlflow", "seed=0,1,2", "sweep.keep=1", "trainer.checkpoint.every_steps=10",
                   "hydra.sweep.dir=s", env=env)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (kept,) = [path.parent for path in (tmp_path / "s").glob("*/run.json")]
    assert oarlock("resume", kept, "trainer.epochs=5", env=env).returncode == 0
    found = runs(uri)
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    (run,) = [run for run in found if run.info.run_id == (kept / "mlflow.txt").read_text().strip()]
    assert curve(uri, run, "valid/loss") == rows_of(kept)["valid/loss"]
    assert len(rows_of(kept)["valid/loss"]) == 5


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(folder, port):
    """A real server, answering."""
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/server.db",
         "--port", str(port), "--workers", "1"],
        cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip

    def answers():
        assert server.poll() is None
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
        except OSError:
            return False

    wait_for(answers, 120)
    return server


def end(server):
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


# It waits until the test has stopped, or started, the server.
WAITS = """
import os, time
from oarlock import component, hookimpl

@component
class Waits:
    '''Wait for files after the first and after the second evaluation.'''

    changes_run = True

    @hookimpl(tryfirst=True)
    def on_evaluation_end(self, run):
        name = {2: "stopped", 4: "started"}.get(len(run.history))
        if name:
            open(f"waits-{name}", "w").close()
            while not os.path.exists(name):
                time.sleep(0.02)

@hookimpl
def register_components(register):
    register("callback/waits", Waits)
"""


@pytest.mark.long
def test_a_server_that_is_away_for_a_while_costs_nothing(tmp_path, plugin):
    port = free_port()
    uri, env = f"http://127.0.0.1:{port}", plugin(WAITS, "waits")
    server = serve(tmp_path, port)
    try:
        job = start(tmp_path, "train", *JOB, "trainer.epochs=5", "callback=[waits,mlflow]",
                    f"callback.mlflow.tracking_uri={uri}", "hydra.run.dir=run", env=env)  # fmt: skip
        wait_for((tmp_path / "waits-stopped").exists)
        end(server)
        (tmp_path / "stopped").touch()
        wait_for((tmp_path / "waits-started").exists, 120)
        server = serve(tmp_path, port)
        (tmp_path / "started").touch()
        _, errors = job.communicate(timeout=120)
        assert job.returncode == 0, errors
        assert errors.count("callback.mlflow: ") == 1, "said once"
        assert "it is tried again later" in errors
        (run,) = runs(uri)
        assert run.info.status == "FINISHED"
        assert curve(uri, run, "valid/loss") == rows_of(tmp_path / "run")["valid/loss"]
    finally:
        end(server)


def test_a_server_that_is_not_there_is_an_error_before_the_first_step(oarlock):
    where = f"callback.mlflow.tracking_uri=http://127.0.0.1:{free_port()}"
    done = oarlock("train", *JOB, "+callback=mlflow", where, "hydra.run.dir=run", timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") <= 3, done.stderr
    assert "error: callback=mlflow: it cannot be written to: " in done.stderr
    assert "127.0.0.1" in done.stderr


ODD = """
from dataclasses import field
from oarlock import component, hookimpl

@component
class Odd:
    changes_run = False
    in_the_way: bool = False
    options: dict[str, int] = field(default_factory=lambda: {"a?b": 1})

    @hookimpl(tryfirst=True)
    def on_run_start(self, run):
        if self.in_the_way:
            (run.destination / "mlflow.txt").symlink_to("not/there")

@hookimpl
def register_components(register):
    register("callback/odd", Odd)
"""


def test_an_option_with_letters_that_mlflow_does_not_take(oarlock, plugin, uri):
    env = {**plugin(ODD, "odd"), "MLFLOW_TRACKING_URI": uri}
    done = oarlock("train", *JOB, "callback=[mlflow,odd]", "hydra.run.dir=run", env=env)
    assert done.returncode == 0, done.stderr
    (run,) = runs(uri)
    assert run.data.params["callback.odd.options.a_b"] == "1"


def test_a_run_that_does_not_begin_is_none_that_goes_on_for_ever(oarlock, plugin, uri):
    env = {**plugin(ODD, "odd"), "MLFLOW_TRACKING_URI": uri}
    done = oarlock("train", *JOB, "callback=[mlflow,odd]", "callback.odd.in_the_way=true", "hydra.run.dir=run", env=env)
    assert done.returncode == 2
    assert "error: callback=mlflow: it cannot be written to: " in done.stderr
    (run,) = runs(uri)
    assert run.info.status == "FAILED"


@pytest.mark.long
def test_a_server_that_stays_away_leaves_the_numbers_in_the_folder(tmp_path, plugin):
    port = free_port()
    env = plugin(WAITS, "waits")
    server = serve(tmp_path, port)
    try:
        job = start(tmp_path, "train", *JOB, "trainer.epochs=3", "callback=[waits,mlflow]",
                    f"callback.mlflow.tracking_uri=http://127.0.0.1:{port}", "hydra.run.dir=run", env=env)  # fmt: skip
        wait_for((tmp_path / "waits-stopped").exists)
    finally:
        end(server)
    (tmp_path / "stopped").touch()
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert "callback.mlflow: 3 of its rows are in the run's folder alone" in errors
    assert len(rows_of(tmp_path / "run")["valid/loss"]) == 3
