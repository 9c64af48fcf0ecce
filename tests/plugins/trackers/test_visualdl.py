"""VisualDL itself reads what is written."""

from __future__ import annotations

import pytest

from tests.plugins.trackers.runs import ENDS, JOB, rows_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of the packages that it imports


def read(folder):
    from visualdl import LogReader

    found = {}
    for file in sorted(folder.iterdir()):
        reader = LogReader(file_path=str(file))
        for name in reader.get_tags().get("scalar", ()):
            found.setdefault(name, []).extend((one.id, one.value) for one in reader.get_data("scalar", name))
    return found


def test_numbers_and_options(oarlock, tmp_path):
    from visualdl import LogReader

    oarlock("train", *JOB, "+callback=visualdl", "optimizer.learning_rate=0.05", "hydra.run.dir=run")
    folder = tmp_path / "run" / "visualdl"
    found, expected = read(folder), rows_of(tmp_path / "run")
    assert {name for name in found if not name.startswith("test/")} == expected.keys()
    for name, rows in expected.items():
        assert found[name] == [(step, pytest.approx(value, rel=1e-6)) for step, value in rows]
    assert [step for step, _ in found["test/accuracy"]] == [99]
    (file,) = folder.iterdir()
    (options,) = LogReader(file_path=str(file)).get_data("hyper_parameters", "hparam")
    values = {one.name: one.float_value for one in options.hparam.hparamInfos}
    assert values["optimizer.learning_rate"] == pytest.approx(0.05)


def test_a_run_that_is_interrupted_and_resumed_is_one_curve(oarlock, tmp_path, plugin):
    env = plugin(ENDS, "ends")
    job = [*JOB, "callback=[visualdl,ends]", "callback.ends.signal=15"]
    assert oarlock("train", *job, "hydra.run.dir=run", env=env).returncode == 75
    assert oarlock("resume", "run", env={**env, "GOES_ON": "1"}).returncode == 0
    rows = rows_of(tmp_path / "run")["valid/loss"]
    assert read(tmp_path / "run" / "visualdl")["valid/loss"] == [(step, pytest.approx(value)) for step, value in rows]
