"""Updates as a person or a schedule makes them: what is published, what is refused, what stays as it was."""

import json
import os
import re
import shutil
import signal
import time
from contextlib import contextmanager

import numpy as np
import pytest

import oarlock as package
from oarlock.record import RunFolder
from oarlock_plugins.service import models
from oarlock_plugins.service.updates.compare import Comparison
from oarlock_plugins.service.updates.plan import planned
from oarlock_plugins.service.updates.store import keep
from tests.conftest import environment
from tests.plugins.service.server.bundles import Network, publish
from tests.plugins.service.updates.conftest import write


def test_good_rows_make_a_better_version_and_are_learned_once(update, digits, oarlock):
    before = digits.accuracy(1)
    done = update("good")
    assert done.returncode == 0, done.stderr
    assert "new rows: 500 of 500 (0 known, 0 held out); rows of before: 100" in done.stdout
    assert "published: digits version 2" in done.stdout
    assert models.candidates(digits.model) == [2, 1]
    after = digits.accuracy(2)
    assert after > before + 0.05

    record = digits.record(1)
    comparison = record["comparison"]
    assert (record["outcome"], record["from"], record["version"]) == ("published", 1, 2)
    assert record["compared_on"] == {"rows": "test", "count": 359}
    assert comparison["live"]["accuracy"] == pytest.approx(before)
    assert comparison["candidate"]["accuracy"] == pytest.approx(after)
    run = RunFolder(digits.model / "updates" / "run-1").record
    assert run["status"] == "completed"
    assert run["command"][:3] == ["oarlock", "update", "digits"]
    assert json.loads((digits.model / "2" / "run" / "update.json").read_text())["comparison"] == comparison
    assert oarlock("evaluate", digits.model / "2" / "run", "--split", "test").returncode == 0

    again = update("good")
    assert again.returncode == 0
    assert (
        again.stdout == "nothing to do: of 500 rows none is new (500 known, 0 held out); digits version 2 stays live\n"
    )
    assert models.versions(digits.model) == [1, 2]


def test_an_update_of_an_update_wherever_the_models_are_now(update, digits, oarlock):
    assert update("more", "trainer.epochs=1").returncode == 0
    moved = digits.models.rename(digits.models.with_name("elsewhere"))
    everything = [digits.files / f"{name}.npz" for name in ("good", "more", "test")]
    done = oarlock("update", "digits", "--models", moved, "--data", *everything, "trainer.epochs=2")
    assert done.returncode == 0, done.stderr
    # What the first update brought is known, and replayed; the test's rows are not learned.
    assert "new rows: 500 of 1337 (478 known, 359 held out); rows of before: 578" in done.stdout
    data = package.load_experiment(moved / "digits" / "3" / "run").values["data"]
    assert data["base"]["path"] == str(digits.files / "first.npz")
    assert len(data["earlier"]) == 1
    run = package.load_run(moved / "digits" / "3" / "run")
    assert len(run.data.train) == 1078
    assert run.config.trainer.epochs == 2
    # A tenth or whatever of the first rate is taken once, not once an update.
    assert run.values["optimizer"]["learning_rate"] == pytest.approx(3e-4)


def test_poison_is_refused(update, digits):
    done = update("poison")
    assert done.returncode == 3, done.stderr
    assert re.search(r"refused: accuracy 0\.\d+ is worse than the live 0\.\d+\n", done.stderr)
    assert "digits version 1 stays live" in done.stderr
    assert models.versions(digits.model) == [1]
    record = digits.record(1)
    assert record["outcome"] == "refused"
    assert record["comparison"]["live_new"]["accuracy"] < 0.2
    assert record["comparison"]["candidate"]["accuracy"] < record["comparison"]["live"]["accuracy"]


def test_poison_that_does_no_harm_yet_is_refused(update, digits):
    """So few steps, so small, that the model is as good as before: on the poison itself it is not."""
    done = update("poison", "optimizer.learning_rate=1e-5", "--allow-loss", "0.05", "trainer.epochs=1")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "refused: the new rows contradict what the model knows: trained on them, its accuracy" in done.stderr
    assert models.versions(digits.model) == [1]


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rate", [1e-4, 3e-4, 1e-3])
def test_shuffled_labels_never_pass(update, digits, tmp_path, seed, rate):
    with np.load(digits.files / "good.npz") as good:
        targets = np.random.default_rng(seed).permutation(good["targets"])
        path = write(tmp_path / "shuffled.npz", good["inputs"], targets)
    assert update(path, f"optimizer.learning_rate={rate}").returncode == 3
    assert models.versions(digits.model) == [1]


def of(metric="accuracy", direction="max", **values):
    """A comparison in which nothing speaks against the candidate but what is given."""
    good = {"accuracy": 0.8, "loss": 0.5} if direction == "max" else {"rmse": 2.0, "loss": 4.0}
    parts = ("live", "candidate", "live_valid", "last_valid", "live_new", "candidate_new")
    found = {part: good | values.get(part, {}) for part in parts}
    return Comparison(
        metric, direction, **found, allowed=values.get("allowed", 0.0), least_fit=values.get("least_fit", 0.5)
    )


@pytest.mark.parametrize(
    ("comparison", "reason"),
    [
        (of(), ""),
        (of(candidate={"accuracy": 0.79}), "is worse than the live"),
        (of(candidate={"accuracy": 0.79}, allowed=0.02), ""),
        (of(candidate={"accuracy": float("nan")}, allowed=1.0), "is worse than the live"),
        (of(candidate={"loss": 9.0}), ""),
        (of(candidate_new={"accuracy": 0.39}), "contradict"),
        (of(candidate_new={"accuracy": 0.39}, least_fit=0.4), ""),
        (of(candidate_new={"accuracy": float("nan")}, least_fit=0.0), "contradict"),
        (of(last_valid={"accuracy": 0.7, "loss": 0.6}), "do harm"),
        (of(last_valid={"accuracy": 0.7, "loss": 0.4}), ""),
        (of(last_valid={"accuracy": 0.9, "loss": 0.6}), ""),
        (of(last_valid={"accuracy": 0.7, "loss": 0.6}, allowed=0.2), ""),
        (of("rmse", "min", candidate={"rmse": 2.1}), "is worse than the live"),
        (of("rmse", "min", candidate={"rmse": 1.9}), ""),
        (of("rmse", "min", candidate_new={"rmse": 4.1}), "contradict"),
        (of("rmse", "min", last_valid={"rmse": 2.5, "loss": 6.0}), "do harm"),
    ],
)
def test_the_three_tests_of_the_gate(comparison, reason):
    assert reason in comparison.reason
    assert bool(reason) == bool(comparison.reason)


def test_rows_that_cannot_be_learned_from_are_bad_input(update, digits, tmp_path):
    bad = tmp_path / "bad.npz"
    inputs, targets = np.ones((4, 8, 8)), np.array([0, 1, 2, 3])
    for arrays, message in [
        (
            {"inputs": np.where(np.arange(4)[:, None, None] == 2, np.nan, inputs), "targets": targets},
            "row 2 has a value",
        ),
        ({"inputs": inputs, "targets": targets + 7}, "row 3: 10 is no class; expected 0 to 9"),
        (
            {"inputs": np.ones((4, 7, 8)), "targets": targets},
            r"the shape \[7, 8\]; the model takes \[8, 8\], or 64 values",
        ),
        ({"inputs": inputs * 0.5, "targets": targets}, "holds float32 values that are no uint8"),
        ({"inputs": inputs, "targets": np.array(["1", "2", "3", "x"])}, "row 3: 'x' is no class"),
    ]:
        np.savez(bad, **arrays)
        done = update(bad)
        assert done.returncode == 2, message
        assert re.search(message, done.stderr), done.stderr
        assert "Traceback" not in done.stderr
    assert not (digits.model / "updates" / "run-1").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good", "trainer.epoch=3"], r"trainer\.epoch: .*Did you mean 'epochs'\?"),
        (["good", "data=mnist"], r"data=mnist: the data of an update is what --data and --replay say"),
        (
            ["good", "data.base.path=none.npz"],
            r"none\.npz: there is no such file\.\nThat is the run of digits version 1",
        ),
        (["good", "--replay", "2"], r"--replay 2: expected a share between 0 and 1"),
        (["good", "--allow-loss", "nan"], r"--allow-loss nan: expected 0 or more"),
        (["good", "--holdout", "none.npz"], r"--holdout=none\.npz: there is no such file"),
        (
            ["good", "--targets", "y.npy"],
            r"--targets y\.npy: it belongs to one \.npy file; --data has \S+good\.npz\.\n",
        ),
        (["none.txt"], r"there is no such file|expected \.csv, \.npy, \.npz"),
    ],
)
def test_a_mistake_is_said_in_a_few_lines(update, digits, arguments, message):
    done = update(*arguments)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert done.stderr.count("\n") <= 3
    assert not (digits.model / "updates" / "run-1").exists()


def test_a_folder_without_rows_is_nothing_to_do(update, digits, tmp_path):
    (tmp_path / "incoming").mkdir()
    done = update(tmp_path / "incoming")
    assert (done.returncode, done.stdout) == (0, "nothing to do: of 0 rows none is new (0 known, 0 held out); "
                                              "digits version 1 stays live\n")  # fmt: skip


def test_it_goes_on_from_what_a_server_serves(update, digits):
    publish(digits.models, "digits", Network())
    done = update("first")
    assert (done.returncode, done.stdout) == (0, "nothing to do: of 100 rows none is new (100 known, 0 held out); "
                                              "digits version 1 stays live\n")  # fmt: skip
    assert "digits 2: its inputs are x FP32 [rows, 8], those of version 1 are inputs UINT8 [rows, 8, 8]." in done.stderr
    done = update("first", "--any-signature")
    assert done.returncode == 2
    assert "2/run" in done.stderr  # which a bundle without a run has not


@pytest.mark.long
def test_a_run_whose_data_has_changed_is_not_gone_on_from(oarlock, digits, tmp_path):
    rng = np.random.default_rng(0)
    table = tmp_path / "rows.csv"

    def fill(shift):
        lines = [f"{a + shift},{b},{'in' if a + b > 0 else 'out'}\n" for a, b in rng.normal(size=(200, 2))]
        table.write_text("a,b,kind\n" + "".join(lines))

    fill(0)
    folder = tmp_path / "run"
    assert oarlock("train", "data=csv", "data.path=rows.csv", "data.target=kind", "model.widths=[8]", "trainer.epochs=1",
                   f"hydra.run.dir={folder}").returncode == 0  # fmt: skip
    assert oarlock("export", folder, "--models", "models", "--name", "points").returncode == 0
    new = tmp_path / "new.csv"
    new.write_text(
        "kind,b,a\n" + "".join(f"{'in' if a + b > 0 else 'out'},{b},{a}\n" for a, b in rng.normal(size=(99, 2)))
    )
    done = oarlock("update", "points", "--models", "models", "--data", new, "--allow-loss", "1")
    assert done.returncode == 0, done.stderr
    assert "new rows: 99 of 99" in done.stdout
    fill(5)
    done = oarlock("update", "points", "--models", "models", "--data", new)
    assert done.returncode == 2
    assert "The data that it was trained on has changed since" in done.stderr


def test_one_update_at_a_time(update, digits):
    from oarlock_plugins.service.updates.locks import held

    with held(digits.model / "updates" / ".lock", ""):
        done = update("good")
    assert (done.returncode, done.stderr) == (2, "error: digits: another update of it is running.\n")


@contextmanager
def updating(forks, digits, tmp_path, until):
    """An update in a process of its own, that has come as far as `until`."""
    words = ["oarlock", "update", "digits", "--models", str(digits.models), "--data", str(digits.files / "good.npz"),
             "trainer.epochs=2000", "trainer.checkpoint.every_steps=20"]  # fmt: skip
    outputs = [tmp_path / "out", tmp_path / "err"]
    for output in outputs:
        output.touch()
    child = forks.start(words, tmp_path, environment(), *outputs)
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline, (tmp_path / "err").read_text()
        time.sleep(0.02)
    yield child


def test_killed_in_the_middle_it_leaves_the_live_version_and_the_next_one_works(forks, update, digits, tmp_path):
    run = digits.model / "updates" / "run-1"
    with updating(forks, digits, tmp_path, lambda: any((run / "checkpoints").glob("step-*"))) as child:
        os.kill(child, signal.SIGKILL)
        forks.wait(child, 60)
    assert models.candidates(digits.model) == [1]
    assert digits.accuracy(1) > 0.5
    done = update("good")
    assert done.returncode == 0, done.stderr
    assert models.candidates(digits.model) == [2, 1]
    assert digits.record(2)["from"] == 1
    assert RunFolder(run).record["status"] == "running"  # what was killed cannot say so


def test_stopped_by_a_signal_its_run_can_be_ended_and_what_is_live_meanwhile_counts(forks, oarlock, digits, tmp_path):
    run = digits.model / "updates" / "run-1"
    with updating(forks, digits, tmp_path, lambda: any((run / "checkpoints").glob("step-*"))) as child:
        os.kill(child, signal.SIGTERM)
        assert forks.wait(child, 60) == 75
    assert "nothing was published, digits version 1 stays live" in (tmp_path / "err").read_text()
    step = RunFolder(run).record["step"]
    done = oarlock("resume", run, f"trainer.max_steps={step + 3}")
    assert done.returncode == 0, done.stderr
    assert oarlock("export", run, "--models", digits.models, "--name", "digits").returncode == 0
    assert models.candidates(digits.model) == [2, 1]


def test_what_was_published_or_withdrawn_meanwhile_is_not_overtaken(digits, monkeypatch):
    from oarlock_plugins.service.export import writing
    from oarlock_plugins.service.updates.start import Options
    from oarlock_plugins.service.updates.update import update

    def meanwhile(source, folder, tolerance):
        shutil.copytree(digits.model / "1", digits.model / "2")

    monkeypatch.setattr(writing, "write_bundle", meanwhile)
    with pytest.raises(package.RunFailed, match="other versions are live than when the update began"):
        update(digits.model, Options([digits.files / "good.npz"], overrides=["trainer.epochs=1"]))
    assert models.versions(digits.model) == [1, 2]
    assert digits.record(1)["outcome"] == "failed"
    assert not [path for path in digits.model.iterdir() if path.name.startswith(".new")]


def test_a_rollback_while_it_is_published_is_not_overtaken(digits, oarlock, monkeypatch):
    from oarlock_plugins.service.updates.start import Options
    from oarlock_plugins.service.updates.update import update

    shutil.copytree(digits.model / "1", digits.model / "2")
    rollbacks, seal = [], models.seal

    def sealing(*arguments):
        rollbacks.append(oarlock("rollback", "digits", "--models", digits.models))
        seal(*arguments)

    monkeypatch.setattr(models, "seal", sealing)
    update(digits.model, Options([digits.files / "good.npz"], overrides=["trainer.epochs=1"]))
    (done,) = rollbacks
    assert (done.returncode, done.stderr) == (
        2, "error: digits: a rollback or an update of it is just taking effect; try again.\n")  # fmt: skip
    assert models.candidates(digits.model) == [3, 2, 1]


def test_rows_that_cannot_be_kept_are_said(update, digits):
    (digits.model / "updates").mkdir()
    (digits.model / "updates" / "rows").write_text("in the way")
    done = update("good")
    assert done.returncode == 1
    assert re.search(r"error: the run failed: \S+updates/rows: the new rows cannot be kept: (File exists|Not a directory)\n"
                     r"digits version 1 stays live\n$", done.stderr), done.stderr  # fmt: skip


def test_a_run_that_fails_is_recorded(update, digits):
    done = update("good", "optimizer.learning_rate=1e38")
    assert done.returncode == 1
    assert "error: the run failed" in done.stderr
    assert digits.record(1)["outcome"] == "failed"
    assert models.candidates(digits.model) == [1]


@pytest.mark.long
def test_a_hold_out_of_ones_own(update, digits, tmp_path):
    """On rows whose labels are all one further, a model that learns so is better, and the old hold-out is not asked."""
    for name in ("good", "valid"):
        with np.load(digits.files / f"{name}.npz") as stored:
            write(tmp_path / f"{name}.npz", stored["inputs"], (stored["targets"] + 1) % 10)
    done = update(tmp_path / "good.npz", "--replay", "0", "--holdout", tmp_path / "valid.npz", "trainer.epochs=20",
                  "optimizer.learning_rate=1e-3", f"data.base.valid_path={tmp_path / 'valid.npz'}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "on 360 rows of --holdout" in done.stdout
    assert digits.accuracy(2) < 0.3 < digits.accuracy(1)


def test_few_rows_make_small_batches_once(digits, tmp_path):
    run = digits.model / "1" / "run"

    def after(experiment, count, *overrides):
        return planned(experiment, run, [tmp_path / "rows.npz"], 0, 0, count, False, overrides)

    def size(experiment):
        return experiment.values["trainer"]["batch_size"]

    first = package.load_experiment(run)
    few = after(first, 5)
    assert (size(few), size(after(few, 500)), size(after(after(few, 3), 500))) == (5, 20, 20)
    chosen = after(few, 500, "trainer.batch_size=7")
    assert (size(chosen), size(after(chosen, 500))) == (7, 7)
    assert size(after(after(first, 5, "trainer.batch_size=4"), 500)) == 4


@pytest.mark.parametrize(("frozen", "changes"), [(True, False), (False, True)])
def test_batch_norm_statistics(digits, tmp_path, frozen, changes):
    run = digits.model / "1" / "run"
    with np.load(digits.files / "good.npz") as good:
        rows = keep(digits.model, package.Arrays(good["inputs"], good["targets"]))
    experiment = planned(package.load_experiment(run), run, [rows], 0, 0, 500, frozen, ["trainer.epochs=1"])
    result = package.Runner().train(experiment, tmp_path / "run")
    before, after = package.load_run(run).model.state_dict(), result.model.state_dict()
    statistics = [name for name in before if name.endswith(("_mean", "_variance"))]
    assert len(statistics) == 2
    for name in statistics:
        assert (before[name].numpy() != after[name].numpy()).any() == changes
    assert all((before[name].numpy() != after[name].numpy()).any() for name in set(before) - set(statistics))
