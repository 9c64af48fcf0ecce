"""TensorBoard itself reads what is written."""

from __future__ import annotations

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from tests.plugins.trackers.runs import ENDS, JOB, rows_of


def read(folder):
    """The numbers by name, as TensorBoard sees them, and the plugins' data."""
    events = EventAccumulator(str(folder))
    events.Reload()
    scalars = {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}
    return scalars, events


def close(found, expected):
    return [(step, pytest.approx(value, rel=1e-6)) for step, value in expected] == found


def test_numbers_and_options(oarlock, tmp_path):
    oarlock("train", *JOB, "+callback=tensorboard", "optimizer.learning_rate=0.05", "trainer.drop_last=true",
            "hydra.run.dir=run")  # fmt: skip
    scalars, events = read(tmp_path / "run" / "tensorboard")
    expected = rows_of(tmp_path / "run")
    assert {name for name in scalars if not name.startswith("test/")} == expected.keys()
    assert all(close(scalars[name], rows) for name, rows in expected.items())
    assert [step for step, _ in scalars["test/accuracy"]] == [99]
    content = events.PluginTagToContent("hparams")
    begin = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info
    assert begin.hparams["optimizer.learning_rate"].number_value == 0.05
    assert begin.hparams["trainer.drop_last"].bool_value is True
    assert begin.hparams["callback.tensorboard.directory"].string_value == "None"
    names = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment.metric_infos
    assert {"valid/accuracy", "test/loss", "train/loss"} <= {one.name.tag for one in names}
    assert ended(content) == api_pb2.STATUS_SUCCESS


def ended(content):
    end = plugin_data_pb2.HParamsPluginData.FromString(content["_hparams_/session_end_info"])
    return end.session_end_info.status


def test_a_run_that_failed_is_not_shown_as_a_success(oarlock, tmp_path):
    done = oarlock(
        "train", *JOB, "+callback=tensorboard", "optimizer=sgd", "optimizer.learning_rate=1e30", "hydra.run.dir=run"
    )
    assert done.returncode == 1
    _, events = read(tmp_path / "run" / "tensorboard")
    assert "_hparams_/session_start_info" in (content := events.PluginTagToContent("hparams"))
    assert "_hparams_/session_end_info" not in content


@pytest.mark.parametrize("epochs", [2, 50], ids=["from a checkpoint", "from the start"])
def test_a_run_that_is_killed_and_resumed_is_one_curve(oarlock, tmp_path, plugin, epochs):
    """What was written after the checkpoint does not count twice."""
    env = plugin(ENDS, "ends")
    job = [*JOB, "trainer.epochs=5", "callback=[tensorboard,ends]", "callback.ends.epoch=4"]
    done = oarlock("train", *job, f"trainer.checkpoint.every_epochs={epochs}", "hydra.run.dir=run", env=env)
    assert done.returncode == -9
    assert oarlock("resume", "run", env={**env, "GOES_ON": "1"}).returncode == 0
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 2
    scalars, _ = read(tmp_path / "run" / "tensorboard")
    assert close(scalars["valid/loss"], rows_of(tmp_path / "run")["valid/loss"])


def test_a_folder_for_many_runs(oarlock, tmp_path):
    for name in ("a", "b"):
        oarlock("train", *JOB, "+callback=tensorboard", "callback.tensorboard.directory=board",
                f"hydra.run.dir=runs/{name}")  # fmt: skip
        scalars, _ = read(tmp_path / "board" / "runs" / name)
        assert close(scalars["valid/loss"], rows_of(tmp_path / "runs" / name)["valid/loss"])


def test_a_folder_for_runs_of_other_places(oarlock, tmp_path):
    (tmp_path / "here").mkdir()
    for name in ("a", "b"):
        oarlock("train", *JOB, "+callback=tensorboard", "callback.tensorboard.directory=board",
                f"hydra.run.dir={tmp_path / name / 'run'}", cwd=tmp_path / "here")  # fmt: skip
        scalars, _ = read(tmp_path / "here" / "board" / tmp_path.relative_to("/") / name / "run")
        assert close(scalars["valid/loss"], rows_of(tmp_path / name / "run")["valid/loss"])


@pytest.mark.slow
def test_a_sweep(oarlock, tmp_path):
    done = oarlock("train", "-m", *JOB, "+callback=tensorboard", "seed=0,1,2,3", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    for number in range(4):
        scalars, _ = read(tmp_path / "sweep" / str(number) / "tensorboard")
        assert close(scalars["valid/loss"], rows_of(tmp_path / "sweep" / str(number))["valid/loss"])


@pytest.mark.slow
def test_a_large_sweep_with_a_folder_for_its_curves_keeps_no_more_runs_than_without(oarlock, tmp_path):
    done = oarlock("train", "-m", *JOB, "+callback=tensorboard", "callback.tensorboard.directory=board",
                   "seed=0,1,2,3", "sweep.keep=1", "hydra.sweep.dir=sweep")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "board" / "sweep").iterdir())) == 4
    assert len(list((tmp_path / "sweep").glob("*/run.json"))) == 1
