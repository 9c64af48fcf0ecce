"""What a run records and returns, when it evaluates and saves, how it starts warm and goes on longer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import oarlock as package
from oarlock import UserError, checkpoint, commands, hookimpl, recorded
from oarlock.record import RunFolder
from tests.conftest import environment

QUICK = ["model.widths=[16]", "callback=[]", "trainer.epochs=3"]


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def run(tmp_path):
    def train(*overrides, name="run"):
        return package.train([*QUICK, f"hydra.run.dir={tmp_path / name}", *overrides])

    return train


def test_the_result_and_the_folder_tell_the_same(run):
    result = run("optimizer=sgd", "optimizer.learning_rate=0.2")
    record = json.loads((result.folder / "run.json").read_text())
    assert result.status == record["status"] == "completed"
    assert record["metrics"] == result.metrics
    assert set(result.metrics) == {f"{s}/{m}" for s in ("valid", "test") for m in ("loss", "accuracy")} | {"train/loss"}
    assert record["best"] == result.best
    assert record["components"]["optimizer"] == {
        "component": "optimizer/sgd", "distribution": "oarlock", "version": package.__version__
    }  # fmt: skip
    assert record["device"] == "cpu"
    assert record["seed"] == 0
    config = yaml.safe_load((result.folder / "config.yaml").read_text())
    assert config["optimizer"] == {"learning_rate": 0.2}
    assert [row["epoch"] for row in rows(result.folder)] == [1, 2, 3]
    best = max(rows(result.folder), key=lambda row: row["valid/accuracy"])
    assert result.best["value"] == best["valid/accuracy"]
    assert result.best["step"] == best["step"]


def test_the_model_that_comes_back_has_the_best_weights(run):
    result = run("optimizer.learning_rate=0.05", "trainer.epochs=6")
    again = recorded.evaluate(result.folder)
    assert again["valid/accuracy"] == result.best["value"]
    assert again["test/accuracy"] == result.metrics["test/accuracy"]
    _, files, _ = checkpoint.newest_intact(result.folder / "checkpoints")
    best = checkpoint.unpack_arrays(files["best.safetensors"])
    assert all(np.array_equal(best[name], tensor.numpy()) for name, tensor in result.model.state_dict().items())


def test_one_seed_is_one_run_and_two_seeds_share_the_split(run):
    first, again, other = run(name="a"), run(name="b"), run("seed=1", name="c")
    assert first.metrics == again.metrics
    assert first.metrics != other.metrics


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (["trainer.evaluate_every=2"], [66, 99]),
        (["trainer.evaluate_every=40steps"], [40, 80, 99]),
        (["trainer.evaluate_every=33 steps"], [33, 66, 99]),
        (["trainer.max_steps=40"], [33, 40]),
        (["trainer.max_steps=33"], [33]),
        (["trainer.batch_size=64", "trainer.drop_last=false", "trainer.epochs=1"], [17]),
        (["trainer.accumulate_steps=4", "trainer.epochs=2"], [8, 16]),
    ],
)
def test_when_it_evaluates(run, overrides, steps):
    assert [row["step"] for row in rows(run(*overrides).folder)] == steps


@pytest.mark.parametrize("period", ["30s", "200s", "0", "5 epochss", "epoch"])
def test_a_period_that_is_none_is_refused(run, period):
    with pytest.raises(UserError, match="expected '1 epoch', '5 epochs' or '200 steps'"):
        run(f"trainer.evaluate_every={period}")


def test_an_empty_folder_to_start_from_is_refused(run):
    with pytest.raises(UserError, match="init_from='': expected the folder of a run, or null"):
        run("trainer.init_from=")


def test_the_last_evaluation_belongs_to_the_last_epoch(run):
    result = run("trainer.epochs=3", "trainer.evaluate_every=2 epochs")
    assert [row["epoch"] for row in rows(result.folder)] == [2, 3]
    assert result.best["epoch"] in (2, 3)


def test_when_it_saves(run):
    every = run("trainer.checkpoint.every_steps=30", "trainer.checkpoint.keep=10", name="steps")
    saved = sorted(path.name for path in (every.folder / "checkpoints").iterdir())
    assert saved == ["step-00000030", "step-00000060", "step-00000090", "step-00000099"]
    kept = run("trainer.checkpoint.every_epochs=1", name="epochs")
    assert sorted(path.name for path in (kept.folder / "checkpoints").iterdir()) == ["step-00000099", "step-00000099.1"]


def test_a_monitor_decides_what_is_best(run):
    result = run("trainer.monitor=valid/loss", "trainer.epochs=5", "optimizer.learning_rate=0.05")
    assert result.best["monitor"] == "valid/loss"
    assert result.best["value"] == min(row["valid/loss"] for row in rows(result.folder))


def test_without_validation_the_training_loss_is_monitored(run):
    result = run("data.valid_fraction=0", "data.test_fraction=0")
    assert result.best["monitor"] == "train/loss"
    assert set(result.metrics) == {"train/loss"}


def test_warm_start(run, tmp_path):
    first = run(name="first")
    warm = run(f"trainer.init_from={first.folder}", "trainer.max_steps=1", "optimizer=sgd",
               "optimizer.learning_rate=0", name="warm")  # fmt: skip
    weights = {name: tensor.numpy() for name, tensor in first.model.state_dict().items()}
    for name, tensor in warm.model.state_dict().items():
        if not name.endswith(("_mean", "_variance")):
            np.testing.assert_array_equal(tensor.numpy(), weights[name])
    with pytest.raises(UserError, match=r"trainer\.init_from=.*do not fit"):
        run(f"trainer.init_from={first.folder}", "model.widths=[8]", name="other")
    with pytest.raises(UserError, match="not a run's folder"):
        run(f"trainer.init_from={tmp_path}", name="none")


def test_longer_training_keeps_the_schedule_s_length(run):
    whole = run("schedule=cosine", "trainer.epochs=2")
    total = json.loads((whole.folder / "run.json").read_text())["total_steps"]
    longer = commands.resume(whole.folder, ["trainer.epochs=4"], say=lambda text: None)
    assert longer.step == 4 * 33
    assert json.loads((whole.folder / "run.json").read_text())["total_steps"] == total == 66
    assert rows(whole.folder)[-1]["learning_rate"] == pytest.approx(0, abs=1e-12)
    assert [row["epoch"] for row in rows(whole.folder)] == [1, 2, 3, 4]


def test_the_record_of_a_longer_run_has_the_time_of_both_parts_and_the_command_for_the_whole(run):
    folder = run("trainer.epochs=2").folder
    before = json.loads((folder / "run.json").read_text())
    commands.resume(folder, ["trainer.epochs=4"], say=lambda text: None)
    record = json.loads((folder / "run.json").read_text())
    last = record["times"]["ended"] - record["times"]["started"]
    assert record["times"]["seconds"] == pytest.approx(before["times"]["seconds"] + last, abs=0.002)
    assert [word for word in record["command"] if word.startswith("trainer.epochs")] == ["trainer.epochs=4"]
    assert [w for w in record["command"] if "epochs" not in w] == [w for w in before["command"] if "epochs" not in w]


def test_folders_may_be_texts(run):
    folder = str(run().folder)
    assert recorded.load_run(folder).record.path == Path(folder)
    assert recorded.load_experiment(folder).values["trainer"]["epochs"] == 3
    assert commands.resume(folder, ["trainer.epochs=4"], say=lambda text: None).epoch == 4


def test_resume_refuses_what_would_be_another_run(run):
    folder = run().folder
    with pytest.raises(UserError, match=r"optimizer\.learning_rate=1: a resumed run is the same run"):
        commands.resume(folder, ["optimizer.learning_rate=1"])
    said = []
    assert commands.resume(folder, say=said.append) is None
    assert "completed already" in said[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [("trainer.max_steps=10", "the run has made 66 steps already"), ("trainer.epochs=1", "the run has begun 2 epochs")],
)
def test_a_run_is_not_resumed_to_less_than_it_has_done(run, override, message):
    folder = run("trainer.epochs=2").folder
    before = (folder / "config.yaml").read_text()
    with pytest.raises(UserError, match=rf"{override}: {message}"):
        commands.resume(folder, [override])
    assert (folder / "config.yaml").read_text() == before


class Hears:
    @hookimpl
    def on_epoch_end(self, run):
        heard.append(run.epoch)


class Forgotten:
    def on_epoch_end(self, run):
        heard.append(run.epoch)


class Mistyped:
    @hookimpl
    def on_epoch_ends(self, run):
        heard.append(run.epoch)


class Held:
    @property
    def on_epoch_end(self):
        return None


class Lazy:
    @hookimpl
    def on_epoch_end(self, run):
        heard.append(run.epoch)
        yield


heard = []


def test_hooks_of_the_caller(run, tmp_path):
    heard.clear()
    package.train(["trainer.epochs=2", "callback=[]", f"hydra.run.dir={tmp_path / 'heard'}"], hooks=[Hears(), Hears()])
    assert heard == [0, 0, 1, 1]


def test_wrappers_and_what_is_registered_at_the_start_are_called_beside_the_steps(tmp_path):
    called = []

    class Late:
        @hookimpl
        def on_epoch_end(self):
            called.append("late end")

        @hookimpl
        def on_step_end(self, run):
            called.append(f"late step {run.step}")

    class Inner:
        @hookimpl
        def on_run_start(self, run):
            run.manager.register(Late())

        @hookimpl
        def on_evaluation_end(self, metrics, run):
            called.append(f"evaluated at {run.step}: {'valid/loss' in metrics}")

    class Outer:
        @hookimpl(wrapper=True)
        def on_evaluation_end(self, run):
            called.append("before")
            yield
            called.append("after")

        @hookimpl(wrapper=True)
        def on_epoch_start(self):
            called.append("start")
            return (yield)

    job = [*QUICK[:2], "trainer.epochs=1", "trainer.batch_size=539", f"hydra.run.dir={tmp_path / 'run'}"]
    package.train(job, hooks=[Inner(), Outer()])
    assert called == ["start", "late step 1", "late step 2", "before", "evaluated at 2: True", "after", "late end"]


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ([Hears], r"hooks\[0\]=Hears: it is a class; give an instance, Hears\(\)"),
        ([Hears(), {}], r"hooks\[1\] \(dict\): none of its methods is marked @hookimpl"),
        ([Forgotten()], r"hooks\[0\] \(Forgotten\)\.on_epoch_end bears the name of a hook but is not marked"),
        ([Mistyped()], r"on_epoch_ends is marked @hookimpl but there is no such hook\. Did you mean 'on_epoch_end'"),
        ([Held()], r"\(Held\)\.on_epoch_end bears the name of a hook but is a property, so it is never called"),
        ([Lazy()], r"\(Lazy\)\.on_epoch_end has a yield, so its body would never run"),
        (Hears(), r"expected a list of objects with @hookimpl methods"),
    ],
)
def test_hooks_of_the_caller_that_would_never_be_called_are_refused(tmp_path, hooks, message):
    with pytest.raises(UserError, match=message):
        package.train([f"hydra.run.dir={tmp_path / 'run'}"], hooks=hooks)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("threads", [[True, False], [False, True]])
def test_runs_in_a_thread_and_in_the_main_one_are_the_same(tmp_path, threads):
    (tmp_path / "train.py").write_text(f"""
import oarlock, threading
for number, apart in enumerate({threads}):
    def train(number=number):
        oarlock.train(["trainer.epochs=1", "callback=[]", "model.widths=[8]", f"hydra.run.dir=run-{{number}}"])
    if apart:
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
    else:
        train()
""")
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"run-{number}" / "metrics.jsonl").read_text() for number in (0, 1))
    assert re.sub(r'"time": [\d.]+', "", first) == re.sub(r'"time": [\d.]+', "", second)


def test_a_run_that_is_being_trained_cannot_be_resumed(run, oarlock):
    folder = run().folder
    with RunFolder(folder).locked():
        done = oarlock("resume", folder, "trainer.epochs=4")
    assert done.returncode == 2
    assert "another process" in done.stderr


def changed(name, change):
    """A damage to a run's folder: the text of a file, changed."""
    return lambda folder: (folder / name).write_text(change((folder / name).read_text()))


def record_with(**values):
    return changed("run.json", lambda text: json.dumps({**json.loads(text), **values}))


def unlockable(folder):
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unlockable, "run: the run cannot be written: Is a directory"),
        (changed("config.yaml", lambda text: ""), r"config\.yaml: expected a mapping"),
        (changed("config.yaml", lambda text: text.partition("trainer:")[0]), r"config\.yaml: it has no 'trainer'"),
        (changed("config.yaml", lambda text: text.partition("model:")[0]), r"config\.yaml: it has no 'model'"),
        (record_with(versions=None), r"run\.json is not the record of a run"),
        (record_with(components=[]), r"run\.json is not the record of a run"),
        (record_with(components={"model": "model/mlp"}), r"run\.json is not the record of a run"),
        (record_with(times=3), r"run\.json is not the record of a run"),
    ],
)
def test_a_damaged_folder_is_an_error_that_names_the_file(run, damage, message):
    folder = run("trainer.epochs=1").folder
    damage(folder)
    with pytest.raises(UserError, match=message):
        commands.resume(folder, ["trainer.epochs=2"])


@pytest.mark.parametrize("left", [None, 0, 1])
def test_a_run_whose_lines_are_lost_goes_on(run, capsys, left):
    whole, folder = run(name="whole").folder, run("trainer.epochs=2").folder
    if left is None:
        (folder / "metrics.jsonl").unlink()
    else:
        changed("metrics.jsonl", lambda text: "".join(text.splitlines(keepends=True)[:left]))(folder)
    again = commands.resume(folder, ["trainer.epochs=3"], say=lambda text: None)
    assert f"2 evaluations were recorded, {left or 0} are there" in capsys.readouterr().err
    assert again.history == rows(folder)
    expected = rows(whole)[: left or 0] + rows(whole)[2:]
    assert [without_time(row) for row in rows(folder)] == [without_time(row) for row in expected]
    ends = [checkpoint.newest_intact(one / "checkpoints")[1]["model.safetensors"] for one in (whole, folder)]
    assert ends[0] == ends[1]


def without_time(row):
    return {key: value for key, value in row.items() if key != "time"}


def test_evaluate_on_other_data(run):
    folder = run().folder
    other = recorded.evaluate(folder, ["data.split_seed=5"])
    assert set(other) == {"valid/loss", "valid/accuracy", "test/loss", "test/accuracy"}
    assert set(recorded.evaluate(folder, splits=["train"])) == {"train/loss", "train/accuracy"}
    with pytest.raises(UserError, match=r"split=tset.*Did you mean 'test'"):
        recorded.evaluate(folder, splits=["tset"])
    with pytest.raises(UserError, match=r"data\.split_sed"):
        recorded.evaluate(folder, ["data.split_sed=5"])


def test_a_run_that_was_made_longer_stays_longer(run):
    folder = run("trainer.epochs=1").folder
    commands.resume(folder, ["trainer.epochs=3", "trainer.max_steps=40"], say=lambda text: None)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["trainer"]["epochs"], config["trainer"]["max_steps"]) == (3, 40)
    record = RunFolder(folder)
    record.update(status="running")  # as a kill leaves it
    longer = commands.resume(folder, ["trainer.max_steps=50"], say=lambda text: None)
    assert longer.step == 50


def test_what_does_not_make_a_run_longer_does_not_restart_it(tmp_path):
    folder = package.train(
        ["model.widths=[16]", "callback.early_stopping.patience=1", f"hydra.run.dir={tmp_path / 'run'}"]
    ).folder
    evaluations = len(rows(folder))
    assert json.loads((folder / "run.json").read_text())["status"] == "early_stopped"
    again = commands.resume(folder, ["trainer.checkpoint.keep=3"], say=lambda text: None)
    assert again.status == "early_stopped"
    assert len(rows(folder)) == evaluations


class Swaps:
    """Evaluates other weights than those that are trained, as an average of them would be."""

    @hookimpl
    def on_evaluation_start(self, run):
        self.trained = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
        for tensor in run.model.state_dict().values():
            tensor.set_value(tensor * 0.5)

    @hookimpl
    def on_evaluation_end(self, run):
        for name, tensor in run.model.state_dict().items():
            tensor.set_value(self.trained[name])


@pytest.mark.parametrize("every", ["null", "33", "1"])
def test_the_best_weights_are_those_that_were_evaluated(tmp_path, every):
    """Also where the weights were looked at after the same step, before they were others."""
    overrides = [*QUICK, "trainer.epochs=1", f"trainer.checkpoint.every_steps={every}", f"hydra.run.dir={tmp_path}/run"]
    result = package.train(overrides, hooks=[Swaps()])
    assert result.best["step"] == 33
    _, files, _ = checkpoint.newest_intact(result.folder / "checkpoints")
    arrays = {name: checkpoint.unpack_arrays(files[name]) for name in (checkpoint.MODEL, checkpoint.BEST)}
    assert arrays[checkpoint.BEST]
    for name, array in arrays[checkpoint.BEST].items():
        np.testing.assert_array_equal(array, arrays[checkpoint.MODEL][name] * np.float32(0.5))
        np.testing.assert_array_equal(result.model.state_dict()[name].numpy(), array)


def test_a_test_that_fails_leaves_the_last_checkpoint_whole(tmp_path):
    class Breaks:
        @hookimpl
        def on_evaluation_end(self, run):
            run.data.test = Unreadable()

    class Unreadable:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            raise ValueError("unreadable")

    with pytest.raises(package.RunFailed, match="unreadable"):
        package.train([*QUICK, f"hydra.run.dir={tmp_path}/run"], hooks=[Breaks()])
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], "unreadable" in record["reason"]) == ("failed", True)
    _, files, damaged = checkpoint.newest_intact(tmp_path / "run" / "checkpoints")
    assert json.loads(files[checkpoint.STATE])["step"] == record["step"]
    assert not damaged


def test_many_checkpoints_of_one_step_are_numbered_on(tmp_path):
    for number in range(5):
        path = checkpoint.write(tmp_path, 8, {"state.json": str(number).encode()}, keep=2)
        assert path.is_dir()
        assert next(checkpoint.newest_first(tmp_path)) == path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000008.3", "step-00000008.4"]


class Thawed:
    """Freezes a weight, and has it trained from an epoch on."""

    def __init__(self, early):
        self._early = early

    @hookimpl
    def prepare_parameters(self, model):
        model.parameters()[0].stop_gradient = self._early

    @hookimpl
    def on_run_start(self, run):
        run.model.parameters()[0].stop_gradient = True

    @hookimpl
    def on_epoch_start(self, run):
        run.model.parameters()[0].stop_gradient = run.epoch < 1


@pytest.mark.parametrize("early", [True, False])
def test_what_was_frozen_before_there_was_an_optimizer_is_not_trained_and_that_is_said(tmp_path, capsys, early):
    words = [*QUICK, "trainer.engine=eager", f"hydra.run.dir={tmp_path / 'run'}"]
    package.train(words, hooks=[Thawed(early)])
    said = "warning: 1.weight: no optimizer moves what was frozen when it was made; "
    assert capsys.readouterr().err.count(said) == early
