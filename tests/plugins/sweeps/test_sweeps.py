"""Sweeps from the command to the last line, with nothing going wrong."""

from __future__ import annotations

import json
import re
import statistics
import subprocess

import pytest
import yaml
from safetensors.numpy import load_file
from tests.conftest import command
from tests.plugins.sweeps.conftest import JOB

DEMANDING = ["-p", "trouble", "callback=[demanding]", "model.widths=[8]", "trainer.epochs=1"]


def weights(folder):
    best = max(folder.glob("checkpoints/*/best.safetensors"))
    return {name: array.tobytes() for name, array in load_file(best).items()}


def test_a_grid_is_trained_ranked_and_repeatable(sweeps):
    done = sweeps.run(
        "train", "-m", *JOB, "optimizer=sgd,adam", "optimizer.learning_rate=0.1,0.01", "hydra.sweep.dir=s"
    )
    assert (done.returncode, done.stderr) == (0, "")
    trials = sweeps.trials()
    assert [trial.overrides[3:] for trial in trials.values()] == [
        ["optimizer=sgd", "optimizer.learning_rate=0.1"], ["optimizer=sgd", "optimizer.learning_rate=0.01"],
        ["optimizer=adam", "optimizer.learning_rate=0.1"], ["optimizer=adam", "optimizer.learning_rate=0.01"],
    ]  # fmt: skip
    assert all(trial.status == "completed" and trial.attempts == 1 for trial in trials.values())
    values = {number: sweeps.record(number)["best"]["value"] for number in trials}
    assert {number: trial.objective for number, trial in trials.items()} == {n: [v] for n, v in values.items()}
    ranked = re.findall(r"^ +\d+  (\S+)  s/(\d)", done.stdout, re.MULTILINE)
    assert [float(value) for value, _ in ranked] == [round(v, 4) for v in sorted(values.values(), reverse=True)]
    assert done.stdout.endswith("sweep: s, 4 finished, 0 failed\n")
    # The command that it shows makes the same run, to the bit, in a process of its own.
    best = re.search(r"^best run: s/(\d)$", done.stdout, re.MULTILINE)[1]
    repeat = re.search(r"^repeat it: (.*)$", done.stdout, re.MULTILINE)[1]
    again = subprocess.run(f"{repeat} hydra.run.dir=again".replace("oarlock", " ".join(command()), 1), shell=True,
                           cwd=sweeps.folder, env=sweeps.environment, capture_output=True, text=True)  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert weights(sweeps.folder / "again") == weights(sweeps.folder / "s" / best)
    assert sweeps.record(best)["command"] == ["oarlock", "train", *trials[int(best)].overrides]
    assert not sweeps.processes()


@pytest.mark.parametrize("search", [
    ["callback.demanding.share=0.5", "callback.demanding.word=a", "seed=1,2"],
    ["callback.demanding.share=0.5,1", "callback.demanding.word=a"],
    ["callback.demanding.share=interval(0.5,1)", "callback.demanding.word=a", "optimizer=sgd,adam", "sweep.trials=2",
     "sweep.seeds=2"],
    ["callback.demanding.share=0.5", "callback.demanding.word=a", "optimizer=sgd,adam", "hydra/launcher=basic"],
    ["callback.demanding.share=0.5", "callback.demanding.word=a", "optimizer=sgd,adam", "hydra/sweeper=basic",
     "hydra/launcher=basic"],
])  # fmt: skip
def test_options_that_need_a_value_have_one_from_the_command_line(sweeps, search):
    """However they come by it, fixed or searched, and whatever else is searched."""
    done = sweeps.run("train", "-m", *DEMANDING, *search, "hydra.sweep.dir=s")
    assert (done.returncode, done.stderr) == (0, "")
    configs = [yaml.safe_load(path.read_text()) for path in sorted(sweeps.folder.glob("s/*/config.yaml"))]
    assert len(configs) == 2 + 2 * ("sweep.seeds=2" in search)
    for config in configs:
        demanding = config["callback"]["demanding"]
        assert demanding["share"] in (0.5, 1) or "interval" in search[0]
        assert demanding["word"] == "a"
    if "hydra/sweeper=basic" not in search:
        again = sweeps.run("resume", "-p", "trouble", "s")
        assert (again.returncode, again.stderr) == (0, "")


PARAMS = """# @package _global_
defaults:
  - override /callback: [demanding]
callback:
  demanding: {word: a}
sweep:
  params:
    callback.demanding.share: [0.5, 1]
    trainer.max_steps: [null, 3]
"""


def test_options_that_need_a_value_have_one_from_a_file(sweeps):
    (sweeps.folder / "conf" / "experiment").mkdir(parents=True)
    (sweeps.folder / "conf" / "experiment" / "shares.yaml").write_text(PARAMS)
    job = ["--config-dir", "conf", "-p", "trouble", "experiment=shares", "model.widths=[8]", "trainer.epochs=1"]
    assert sweeps.run("check", "-m", *job).stdout == "4 of 4 points are valid\n"
    done = sweeps.run("train", "-m", *job, "hydra.sweep.dir=s")
    assert (done.returncode, done.stderr) == (0, "")
    configs = [yaml.safe_load(path.read_text()) for path in sorted(sweeps.folder.glob("s/*/config.yaml"))]
    assert [(one["callback"]["demanding"]["share"], one["trainer"]["max_steps"]) for one in configs] == [
        (0.5, None), (0.5, 3), (1.0, None), (1.0, 3)]  # fmt: skip


def test_numbers_of_two_types_and_paths_are_options_too(sweeps):
    done = sweeps.run("train", "-m", "-p", "trouble", "callback=[kinds]", "model.widths=[8]", "trainer.epochs=1",
                      "callback.kinds.number=1,2.5", "callback.kinds.where=site,nowhere", "hydra.sweep.dir=s")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    said = [(sweeps.folder / "s" / "logs" / f"{number}.txt").read_text().splitlines()[0] for number in range(4)]
    assert said == [f"kinds: {number} PosixPath('{where}') {where == 'site'}"
                    for number in (1, 2.5) for where in ("site", "nowhere")]  # fmt: skip
    assert yaml.safe_load((sweeps.folder / "s" / "2" / "config.yaml").read_text())["callback"]["kinds"] == {
        "number": 2.5, "where": "site"}  # fmt: skip


WRONG = [
    (["optimizer.learning_rate=interval(0.01,0.1)", "sweep.pruner=ahsa"],
     "sweep.pruner=ahsa: there is no such pruner. Did you mean 'asha'?"),
    (["optimizer=adam,sgd", "sweep.trials=0"], "sweep.trials=0: expected at least 1"),
    (["optimizer=adam,sgd", "sweep.pruner=asha", "hydra/launcher=basic"],
     "sweep.pruner=asha: this launcher returns when a run has ended"),
    (["optimizer=adam,sgd", "sweep.memory_limit=1M", "hydra/launcher=basic"],
     "sweep.memory_limit=1M: this launcher returns when a run has ended"),
    (["optimizer=adam,sgd", "sweep.trial_timeout=1s", "hydra/launcher=basic"],
     "sweep.trial_timeout=1s: this launcher returns when a run has ended"),
    (["optimizer=adam,sgd", "sweep.pruner=asha", "sweep.objective=test/accuracy"],
     "sweep.pruner=asha: test/accuracy is known when a run has ended"),
]  # fmt: skip
NEEDED = [
    (["seed=1,2"], "callback.demanding.share: a value is needed; write callback.demanding.share=…"),
    (["optimizer=sgd,adam"], "callback.demanding.share: a value is needed; write callback.demanding.share=…"),
    (["optimizer=sgd,adam", "callback.demanding.shar=1"],
     "callback.demanding.shar=1: callback.demanding has no option 'shar' in this sweep. Did you mean 'share'?"),
    (["optimizer=sgd,adam", "callback.demanding.share=1"], "callback.demanding.word: expected one"),
    (["optimizer=sgd,adam", "callback.demanding.share=x"], "callback.demanding.share"),
]  # fmt: skip


@pytest.mark.parametrize(("job", "searches"), [(JOB, WRONG), (DEMANDING, NEEDED)], ids=["wrong", "needed"])
def test_what_is_wrong_whatever_is_searched_is_named_before_the_first_trial(sweeps, ask, job, searches):
    folder = sweeps.folder / "s"
    lines = [" ".join(["train", "-m", *job, *search, f"hydra.sweep.dir={folder}"]) for search, _ in searches]
    for answer, (search, message) in zip(ask(sweeps.environment, *lines), searches, strict=True):
        assert (answer.code, answer.out) == (2, ""), search
        assert answer.err.startswith(f"error: {message}")
    assert not folder.exists()


def test_a_sweep_is_resumed_from_anywhere(sweeps, tmp_path_factory):
    """Relative paths in its configuration begin where it was made."""
    (sweeps.folder / "rows.csv").write_text(
        "a,kind\n" + "".join(f"{n},{'in' if n % 2 else 'out'}\n" for n in range(40))
    )
    once = sweeps.folder / "once"
    job = ["-p", "trouble", "data=csv", "data.path=rows.csv", "data.target=kind", "trainer.batch_size=8",
           "trainer.epochs=3", "callback=[trouble]", "callback.trouble.how=kill", f"callback.trouble.once={once}"]  # fmt: skip
    done = sweeps.run("train", "-m", *job, "seed=0,1", "hydra.launcher.slots=1", "hydra.sweep.dir=s")
    assert done.returncode == 1
    assert sorted(trial.status for trial in sweeps.trials().values()) == ["completed", "failed"]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    again = sweeps.run("resume", "-p", "trouble", str(sweeps.folder / "s"), "sweep.retries=1", cwd=elsewhere)
    assert (again.returncode, again.stderr) == (
        0, f"it was made in {sweeps.folder}, where its relative paths begin\n")  # fmt: skip
    assert [trial.status for trial in sweeps.trials().values()] == ["completed"] * 2
    # So is a run; what is only evaluated stays where its user is, and says what is meant.
    run = str(sweeps.folder / "s" / "1")
    longer = sweeps.run("resume", "-p", "trouble", run, "trainer.epochs=4", cwd=elsewhere)
    assert longer.returncode == 0, longer.stderr
    asked = sweeps.run("evaluate", "-p", "trouble", run, cwd=elsewhere)
    assert (asked.returncode, asked.stderr.splitlines()) == (2, [
        "error: data.path=rows.csv: there is no such file.",
        f"The run was made in {sweeps.folder}, where its relative paths begin.",
    ])  # fmt: skip
    assert not list(elsewhere.iterdir())


def test_an_objective_that_was_mistyped_can_be_corrected(sweeps):
    done = sweeps.run("train", "-m", *JOB, "seed=0,1", "sweep.objective=accuracy", "hydra.sweep.dir=s")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: sweep.objective=accuracy: a run of this sweep measures no such metric. Did you mean 'valid/accuracy'?",
        "Go on with: oarlock resume s sweep.objective=…",
    ]
    done = sweeps.run("resume", "s", "sweep.objective=valid/accuracy")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("sweep: s, 2 finished, 0 failed\n")
    done = sweeps.run("resume", "s", "sweep.objective=valid/loss")  # it has been measured by the other one now
    assert (done.returncode, "it is another sweep than it was" in done.stderr) == (2, True)


def test_a_space_is_searched_with_whole_numbers_and_options_that_only_some_have(sweeps):
    done = sweeps.run("train", "-m", *JOB, "optimizer=sgd,adam", "optimizer.beta1=0.8,0.9",
                      "optimizer.learning_rate=tag(log,interval(1e-4,1e-1))", "trainer.batch_size=interval(8,64)",
                      "sweep.trials=8", "sweep.sampler=random", "hydra.sweep.dir=s")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    configs = [yaml.safe_load(path.read_text()) for path in sweeps.folder.glob("s/*/config.yaml")]
    assert len(configs) == 8
    for config in configs:
        assert isinstance(config["trainer"]["batch_size"], int)
        assert 8 <= config["trainer"]["batch_size"] <= 64
        assert 1e-4 <= config["optimizer"]["learning_rate"] <= 1e-1
    assert {config["optimizer"].get("beta1") for config in configs} == {None, 0.8, 0.9}


def test_seeds_are_collapsed_to_mean_and_deviation(sweeps):
    done = sweeps.run("train", "-m", *JOB, "seed=5", "optimizer=sgd,adam", "sweep.seeds=3", "hydra.sweep.dir=s")
    assert done.returncode == 0, done.stderr
    for point, name in enumerate(("sgd", "adam")):
        trials = [trial for trial in sweeps.trials().values() if trial.point == point]
        assert [sweeps.record(trial.number)["seed"] for trial in trials] == [5, 6, 7]
        values = [trial.objective[0] for trial in trials]
        shown = f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f} (3)"
        assert re.search(rf"{re.escape(shown)}  s/\d  optimizer={name}", done.stdout)


def test_several_objectives_give_a_front(sweeps):
    done = sweeps.run("train", "-m", *JOB[1:], "model.widths=[2],[32],[64]", "hydra.sweep.dir=s",
                      "sweep.objective=[valid/accuracy,max:valid/loss]")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {number: trial.objective for number, trial in sweeps.trials().items()}
    front = {number for number, mine in found.items()
             if not any(other[0] >= mine[0] and other[1] >= mine[1] and other != mine for other in found.values())}  # fmt: skip
    marked = {int(number) for number in re.findall(r"^\*  \S+  \S+  s/(\d)", done.stdout, re.MULTILINE)}
    assert marked == front


def test_pruned_trials_end_early_and_cleanly(sweeps):
    done = sweeps.run("train", "-m", *JOB[:2], "optimizer.learning_rate=0.01,1e-5,1e-6,1e-7", "trainer.epochs=8",
                      "sweep.pruner=asha", "hydra.launcher.slots=1", "hydra.sweep.dir=s")  # fmt: skip
    assert done.returncode == 0, done.stderr
    pruned = [trial for trial in sweeps.trials().values() if trial.status == "pruned"]
    assert pruned
    for trial in pruned:
        record = sweeps.record(trial.number)
        assert record["status"] == "pruned"
        assert record["reason"].startswith("asha at evaluation")
        assert trial.epochs < 8
        rows = (sweeps.folder / "s" / trial.folder / "metrics.jsonl").read_text().splitlines()
        assert [row["valid/accuracy"] for row in map(json.loads, rows)] == list(trial.reports.values())
        assert (sweeps.folder / "s" / trial.folder / "checkpoints").is_dir()
    assert sweeps.trials()[0].status == "completed"


def test_what_a_trial_prints_is_in_its_log(sweeps):
    done = sweeps.run("train", "-m", JOB[0], JOB[2], "callback=[progress]", "seed=0,1", "hydra.sweep.dir=s")
    assert "train/loss" not in done.stdout
    for number in (0, 1):
        lines = (sweeps.folder / "s" / "logs" / f"{number}.txt").read_text().splitlines()
        assert [line.split()[:2] for line in lines] == [["epoch", "1"], ["epoch", "2"]]


def test_a_sweep_in_a_file(sweeps):
    folder = sweeps.folder / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweep: {dir: s}\nsweep:\n  trials: 3\n  params:\n"
        "    optimizer.learning_rate: tag(log, interval(1e-3, 1e-1))\n    seed: [3, 4]\n"
    )
    done = sweeps.run("train", "-cd", "conf", "experiment=mine", *JOB, "seed=7")
    assert done.returncode == 0, done.stderr
    trials = sweeps.trials()
    assert len(trials) == 3
    assert all(sweeps.record(number)["seed"] == 7 for number in trials)
    assert "repeat it: oarlock train --config-dir" in done.stdout


def test_experiments_that_are_swept_over_say_the_same_of_the_sweep(sweeps):
    """It would have been the first one's, without a word."""
    folder = sweeps.folder / "conf" / "experiment"
    folder.mkdir(parents=True)
    for name, trials in (("one", 3), ("two", 5), ("three", 3)):
        (folder / f"{name}.yaml").write_text(f"# @package _global_\nseed: {trials}\nsweep: {{trials: {trials}}}\n")
    job = ["train", "-cd", "conf", "-m", *JOB, "optimizer.learning_rate=interval(0.1,0.2)"]
    done = sweeps.run(*job, "experiment=one,two")
    assert (done.returncode, done.stderr) == (2, (
        "error: experiment=two: its file has sweep.trials=5, the first of this sweep has 3; a sweep has one.\n"
        "Give it on the command line, or sweep over each experiment by itself.\n"
    ))  # fmt: skip
    assert sweeps.run(*job, "experiment=one,three", "hydra.sweep.dir=same").returncode == 0
    assert sweeps.run(*job, "experiment=one,two", "sweep.trials=2", "hydra.sweep.dir=typed").returncode == 0


@pytest.mark.long
def test_the_timeout_lets_running_trials_end(sweeps):
    done = sweeps.run("train", "-p", "trouble", "-m", JOB[0], JOB[2], "callback=[trouble]", "callback.trouble.how=slow",
                      "seed=range(0,1000)", "sweep.timeout=4s", "hydra.sweep.dir=s")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 0 < len(sweeps.trials()) < 1000
    assert {trial.status for trial in sweeps.trials().values()} == {"completed"}


def test_the_timeout_counts_for_each_seed_of_a_point(sweeps):
    done = sweeps.run("train", "-p", "trouble", "-m", JOB[0], JOB[2], "callback=[trouble]", "callback.trouble.how=slow",
                      "sweep.seeds=50", "hydra.launcher.slots=1", "sweep.timeout=3s", "hydra.sweep.dir=s")  # fmt: skip
    assert done.returncode == 0, done.stderr
    statuses = [trial.status for trial in sweeps.trials().values()]
    assert 0 < statuses.count("completed") < 25
    assert set(statuses) == {"completed", "waiting"}


@pytest.mark.parametrize("sweeper", [[], ["hydra/sweeper=basic", "hydra/launcher=basic"]], ids=["search", "basic"])
def test_a_reader_that_leaves_takes_no_trial_along_and_hides_no_failure(sweeps, sweeper):
    child = sweeps.start("train", "-m", *JOB, *sweeper, "optimizer=sgd", "optimizer.learning_rate=1e30,0.1", "seed=0,1",
                         "hydra.sweep.dir=s")  # fmt: skip
    child.stdout.close()
    errors = child.stderr.read()
    child.stderr.close()
    assert (child.wait(timeout=60), errors) == (1, "")
    assert [sweeps.record(trial)["status"] for trial in range(4)] == ["failed", "failed", "completed", "completed"]


@pytest.mark.parametrize(
    "launcher", ["basic", *(pytest.param(name, marks=pytest.mark.long) for name in ("joblib", "submitit_local"))]
)
def test_launchers_of_hydra_batch_by_batch(sweeps, launcher):
    space = ["optimizer.learning_rate=0.1,1e30", "seed=0,1"]
    done = sweeps.run("train", "-m", *JOB, f"hydra/launcher={launcher}", *space, "optimizer=sgd", "hydra.sweep.dir=s")
    assert done.returncode == 1, done.stderr
    assert [trial.status for trial in sweeps.trials().values()] == ["completed", "completed", "failed", "failed"]
    assert done.stdout.endswith("sweep: s, 2 finished, 2 failed\n")
    # Each took its own time, not that of the batch.
    assert [trial.seconds for trial in sweeps.trials().values()] == [
        sweeps.record(n)["times"]["seconds"] for n in range(4)
    ]
    done = sweeps.run("train", "-m", *JOB, f"hydra/launcher={launcher}", "seed=0,1", "sweep.pruner=asha")
    assert done.returncode == 2
    assert "choose hydra/launcher=local or ray" in done.stderr


@pytest.mark.long
def test_check_looks_at_every_point_of_a_grid_and_at_a_sample_of_a_space(sweeps):
    done = sweeps.run("check", "-m", *JOB, "optimizer=sgd,adam", "optimizer.beta1=0.8,0.9")
    assert (done.returncode, done.stdout) == (0, "3 of 3 points are valid\n")
    done = sweeps.run("check", "-m", *JOB, "optimizer.learning_rate=interval(0.1,0.2)", "sweep.trials=5")
    assert (done.returncode, done.stdout) == (0, "7 of 7 points are valid\n")  # both ends and five between
    done = sweeps.run("check", "-m", *JOB, "trainer.monitor=valid/accuracy,valid/acuracy")
    assert done.returncode == 2
    assert "Did you mean 'valid/accuracy'?" in done.stdout


REFUSED = [
    (["seed=interval(0,3)", "sweep.sampler=grid"], "a grid needs a finite list: seed=1,2,3"),
    (["seed=0,1", "sweep.sampler=tpee"], "sweep.sampler=tpee: there is no such sampler. Did you mean 'tpe'?"),
    (["seed=0,1", "sweep.prunr=asha"], "'sweep' has no option 'prunr'. Did you mean 'pruner'?"),
    (["seed=0,1", "sweep.pruner=asah"], "there is no such pruner. Did you mean 'asha'?"),
    (["seed=0,1", "sweep.trials=0"], "trials=0: expected at least 1"),
    (["seed=0,1", "sweep.timeout=soon"], "timeout=soon: expected seconds, or 90s, 15m, 8h"),
    (["seed=0,1", "sweep.memory_limit=lots"], "memory_limit=lots: expected bytes, or 800M, 4G"),
    (["seed=0,1", "sweep.seeds=2"], "sweep.seeds=2 beside a sweep over seed: choose one of them"),
    (["seed=0,1", "sweep.objective=[a,b]", "sweep.pruner=asha"], "no trial is simply behind"),
    (["optimizer=sgd,adam", "optimizer.lr=1,2"], "Did you mean 'learning_rate'?"),
    (["optimizer=sgd,adam", "optimizer.lr=1"], "Did you mean 'learning_rate'?"),
    (["seed=1,oops"], "seed=oops: Value 'oops'"),
    (["seed=-1,1"], "seed=-1: expected at least 0"),
    (["trainer.batch_size=interval(-3,8)"], "trainer.batch_size=-3: expected at least 1"),
    (["trainer.batch_size=interval(0.5,8)"], "trainer.batch_size=interval(0.5,8.0): expected integers"),
    (["optimizer=sgd,sdg"], "Did you mean 'sgd'?"),
    (["optimizer=null,sgd"], "optimizer=null: null chooses nothing; write optimizer=NAME."),
    (["optimizer=sgd,null"], "optimizer=null: null chooses nothing; write optimizer=NAME."),
    (["seed=0,1", "hydra.launcher.slots=0"], "hydra.launcher.slots=0: expected at least 1"),
    (["seed=0,1", "hydra.launcher.slot=2"], "Did you mean 'slots'?"),
    (["seed=0,1", "device=gpu:1"], "device=gpu:1: a trial of this sweep sees 1 GPU"),
    (["device=cpu,gpu:3"], "device=gpu:3: a trial of this sweep sees 1 GPU"),
    (["runtime.tune=true,false"], "runtime.tune: the trials of this sweep differ in runtime.tune, but a worker trains"),
    (["++runtime.tune=true,false"], "++runtime.tune: the trials of this sweep differ in runtime.tune, but a worker trains"),
    (["seed=0,1", "~sweep"], "this sweeper needs sweep=search"),
    (["seed=0,1", "hydra.sweep.subdir=run_${hydra.job.num}"],
     "hydra.sweep.subdir=run_${hydra.job.num}: the folders of this sweep are named by their trials' numbers.\n"
     "Leave it out, or choose hydra/sweeper=basic."),
    (["seed=0,1", "hydra.sweep.subdir=x", "hydra/launcher=basic"], "hydra.sweep.subdir=x: the folders of this sweep"),
]  # fmt: skip


def test_a_sweep_that_is_not_valid_leaves_nothing(ask, tmp_path):
    lines = [" ".join(["train", "-m", *JOB, *arguments, f"hydra.sweep.dir={tmp_path}/s"]) for arguments, _ in REFUSED]
    for answer, (arguments, said) in zip(ask(None, *lines), REFUSED, strict=True):
        assert answer.code == 2, arguments
        assert said in answer.err
        assert len(answer.err.splitlines()) <= 4, answer.err
    assert not list(tmp_path.iterdir())


def test_items_of_lists_are_swept_over(ask):
    longer, there, beyond = ask(None, *(f"check -m callback=[] {words}" for words in (
        "model.widths=[8,8] model.widths.1=4,16", "model.widths.0=4,16", "model.widths.7=4,16")))  # fmt: skip
    assert (longer.out, there.out) == ("2 of 2 points are valid\n",) * 2
    assert beyond.err.startswith("error: model.widths.7=4: model.widths[7]: list index out of range")


def test_an_objective_that_no_run_measures_ends_the_sweep(sweeps):
    done = sweeps.run("train", "-m", *JOB, "seed=range(0,50)", "sweep.objective=valid/acuracy", "hydra.sweep.dir=s")
    assert done.returncode == 2
    assert "sweep.objective=valid/acuracy" in done.stderr
    assert "Did you mean 'valid/accuracy'?" in done.stderr
    assert len(sweeps.trials()) < 5
    assert not sweeps.processes()


def test_a_single_run_has_no_sweep(sweeps):
    done = sweeps.run("train", *JOB, "sweep.trials=3")
    assert done.returncode == 2
    assert "sweep.trials=3: a single run has no sweep; add -m to sweep." in done.stderr


def test_what_a_file_says_of_a_sweep_is_not_passed_over_without_a_word(sweeps):
    (sweeps.folder / "conf" / "experiment").mkdir(parents=True)
    (sweeps.folder / "conf" / "experiment" / "many.yaml").write_text(
        "# @package _global_\nsweep:\n  trials: 2\n  params: {optimizer.learning_rate: 'interval(0.01, 0.1)'}\n"
    )
    file = ["--config-dir", "conf", "experiment=many"]
    single = sweeps.run("check", *file, *JOB)
    assert (single.returncode, single.stderr) == (
        0, "warning: sweep: what a file says of it is for a sweep, and this is one run; add -m to sweep\n")  # fmt: skip
    many = sweeps.run("train", "-m", *file, *JOB, "hydra.sweep.dir=s")
    assert (many.returncode, many.stderr) == (0, "")
    assert len(sweeps.trials()) == 2
