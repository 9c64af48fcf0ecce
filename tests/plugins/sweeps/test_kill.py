"""A sweep whose driver is killed, or whose ledger is torn, goes on: nothing finished is lost or made twice."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import time

import pytest
from safetensors.numpy import load_file

from oarlock.cli import main
from oarlock.plugins import load_host
from oarlock.sweep import Prepared
from oarlock_plugins.sweeps.display import Lines
from oarlock_plugins.sweeps.driver import Driver
from oarlock_plugins.sweeps.ledger import FINISHED

JOB = ["callback=[]", "trainer.epochs=3"]
SPACE = ["optimizer.learning_rate=tag(log,interval(1e-4,1e-1))", "model.widths=[8],[16],[32]"]
TRIALS = 30


def finished(folder):
    """The runs that have ended well, by folder, with what identifies the file that says so."""
    found = {}
    for path in folder.glob("*/run.json"):
        record = json.loads(path.read_text())
        if record["status"] in FINISHED:
            found[path.parent.name] = (record["times"], record["best"])
    return found


def best_of_study(folder):
    """The best value that the rebuilt study knows, as something to be minimised."""
    record = json.loads((folder / "sweep.json").read_text())
    prepared = Prepared(load_host(), [*record["overrides"], f"hydra.sweep.dir={folder}"], None)
    sweep = prepared.sweeper.prepare(prepared.arguments)
    driver = Driver(folder, sweep.options, sweep.composer, sweep.sampler, sweep.trials, Lines())
    driver.close()
    return driver.trials.search.best()


def assert_whole(sweeps, done, before, count=TRIALS):
    assert done.returncode == 0, done.stderr
    trials = sweeps.trials()
    assert sorted(trials) == list(range(count))
    assert {trial.status for trial in trials.values()} <= set(FINISHED)
    ends = [event["number"] for event in sweeps.events() if event["event"] == "end"]
    assert sorted(ends) == list(range(count))
    after = finished(sweeps.folder / "s")
    assert sorted(after, key=int) == [str(number) for number in range(count)]
    # What had finished before the kill is what it was: not trained again, not written again.
    assert {name: after[name] for name in before} == before
    assert len({(trial.point, *trial.extra) for trial in trials.values()}) == count
    for number, trial in trials.items():
        assert trial.objective == [after[str(number)][1]["value"]]


def kill_and_resume(sweeps, seconds, rng):
    driver = sweeps.start("train", "-m", *JOB, *SPACE, f"sweep.trials={TRIALS}", "hydra.sweep.dir=s")
    sweeps.wait_for(lambda: (sweeps.folder / "s" / "sweep.json").exists())
    time.sleep(seconds)
    driver.kill()
    driver.communicate()
    sweeps.wait_for(lambda: not sweeps.processes(), 15)  # workers without a driver end by themselves
    before = finished(sweeps.folder / "s")
    done = sweeps.run("resume", "s")
    assert_whole(sweeps, done, before)
    best = max(value["value"] for _, value in finished(sweeps.folder / "s").values())
    assert best_of_study(sweeps.folder / "s") == [-best]
    assert f"1  {best:.4f}" in done.stdout
    assert not sweeps.processes()


@pytest.mark.long
@pytest.mark.parametrize("number", range(2))
def test_a_killed_driver(sweeps, number):
    rng = random.Random(number)
    kill_and_resume(sweeps, rng.uniform(1.5, 5), rng)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(20))
def test_a_killed_driver_at_twenty_moments(sweeps, number):
    rng = random.Random(1_000 + number)
    kill_and_resume(sweeps, rng.uniform(0.0, 7.0), rng)


@pytest.mark.long
def test_a_driver_that_is_killed_again_and_again(sweeps):
    command = ["train", "-m", *JOB, *SPACE, f"sweep.trials={TRIALS}", "hydra.sweep.dir=s"]
    for seconds in (1.0, 3.5, 2.5):
        driver = sweeps.start(*command)
        sweeps.wait_for(lambda: (sweeps.folder / "s" / "sweep.json").exists())
        time.sleep(seconds)
        driver.kill()
        driver.communicate()
        # At once: the workers of the one before may still be saving what they were at.
        command = ["resume", "s"]
    sweeps.wait_for(lambda: not sweeps.processes(), 15)
    before = finished(sweeps.folder / "s")
    assert_whole(sweeps, sweeps.run("resume", "s"), before)


def test_a_sweep_waits_for_what_the_driver_before_it_left_behind(sweeps):
    once = sweeps.folder / "once"
    driver = sweeps.start("train", "-p", "trouble", "-m", "callback=[trouble]", "callback.trouble.how=slow",
                          f"callback.trouble.once={once}", "model.widths=[8]", "trainer.epochs=3", "seed=0,1",
                          "hydra.launcher.slots=1", "hydra.sweep.dir=s")  # fmt: skip
    sweeps.wait_for(once.exists)
    driver.kill()
    driver.wait()
    left = sweeps.processes()
    for process in left:
        os.kill(process, signal.SIGSTOP)  # it takes its time to save the run
    next_one = sweeps.start("resume", "-p", "trouble", "s")
    deadline = time.monotonic() + 20
    # The driver, the process that forks, and a worker, which has a trial in a moment.
    sweeps.wait_for(lambda: len(set(sweeps.processes()) - set(left)) > 2 or time.monotonic() > deadline)
    time.sleep(2)
    for process in left:
        os.kill(process, signal.SIGCONT)
    driver.communicate()
    out, errors = next_one.communicate(timeout=60)
    assert (next_one.returncode, errors) == (0, ""), out
    assert out.endswith("sweep: s, 2 finished, 0 failed\n")
    assert [trial.attempts for trial in sweeps.trials().values()] == [1, 1]
    assert "resuming s/0 from " in (sweeps.folder / "s" / "logs" / "0.txt").read_text()


@pytest.mark.long
def test_a_worker_that_hangs_ends_when_its_driver_is_killed(sweeps):
    driver = sweeps.start("train", "-p", "trouble", "-m", "callback=[trouble]", "callback.trouble.how=hang", "seed=0,1",
                          "model.widths=[8]", "hydra.sweep.dir=s")  # fmt: skip
    sweeps.wait_for(lambda: len(list((sweeps.folder / "s").glob("*/metrics.jsonl"))) == 2)
    driver.kill()
    driver.communicate()
    sweeps.wait_for(lambda: not sweeps.processes(), 25)


# --- signals


def bits(folder):
    """What a run has learned and measured, without its clock."""
    weights = max(folder.glob("checkpoints/*/best.safetensors"))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return ({name: array.tobytes() for name, array in load_file(weights).items()},
            [{key: value for key, value in row.items() if key != "time"} for row in rows])  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_saves_what_runs_and_a_resumed_sweep_ends_as_if_there_had_been_none(sweeps, number):
    sweep = ["-m", "callback=[]", "model.widths=[8]", "trainer.epochs=300", "seed=range(0,4)"]
    assert sweeps.run("train", *sweep, "hydra.sweep.dir=whole").returncode == 0
    driver = sweeps.start("train", *sweep, "hydra.sweep.dir=s")
    sweeps.wait_for_ends(1)
    os.kill(driver.pid, number)
    out, errors = driver.communicate(timeout=60)
    assert driver.returncode == 75, errors
    assert errors == "stopped by a signal; 'oarlock resume s' continues it\n"
    assert "to go on with" in out
    assert not sweeps.processes()
    cut_short = [path.parent for path in (sweeps.folder / "s").glob("*/run.json")
                 if json.loads(path.read_text())["status"] == "interrupted"]  # fmt: skip
    assert cut_short
    assert all(list(folder.glob("checkpoints/step-*")) for folder in cut_short)
    done = sweeps.run("resume", "s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("sweep: s, 4 finished, 0 failed\n")
    assert [trial.attempts for trial in sweeps.trials().values()] == [1] * 4
    for name in "0123":
        assert bits(sweeps.folder / "s" / name) == bits(sweeps.folder / "whole" / name)


def test_a_second_signal_ends_it_at_once_and_it_can_still_go_on(sweeps):
    once = sweeps.folder / "once"
    driver = sweeps.start("train", "-p", "trouble", "-m", "callback=[trouble]", "callback.trouble.how=hang",
                          f"callback.trouble.once={once}", "model.widths=[8]", "trainer.epochs=3", "seed=0,1",
                          "hydra.launcher.slots=1", "hydra.sweep.dir=s")  # fmt: skip
    sweeps.wait_for(once.exists)
    os.kill(driver.pid, signal.SIGINT)
    time.sleep(0.5)
    assert driver.poll() is None  # it waits for the trial, which hangs
    os.kill(driver.pid, signal.SIGINT)
    _, errors = driver.communicate(timeout=10)
    assert driver.returncode == 75
    assert "'oarlock resume -p trouble s' continues it" in errors
    assert not sweeps.processes()
    done = sweeps.run("resume", "-p", "trouble", "s")
    assert done.returncode == 0, done.stdout
    assert {trial.status for trial in sweeps.trials().values()} == {"completed"}


def test_a_trial_that_hangs_keeps_its_time_limit_when_a_signal_has_come(sweeps):
    once = sweeps.folder / "once"
    driver = sweeps.start("train", "-p", "trouble", "-m", "callback=[trouble]", "callback.trouble.how=hang",
                          f"callback.trouble.once={once}", "model.widths=[8]", "trainer.epochs=3", "seed=0,1",
                          "sweep.trial_timeout=8", "hydra.launcher.slots=1", "hydra.sweep.dir=s")  # fmt: skip
    sweeps.wait_for(once.exists)
    os.kill(driver.pid, signal.SIGTERM)
    out, _ = driver.communicate(timeout=30)
    assert driver.returncode == 75
    assert "failed: s/0: time limit: " in out
    assert not sweeps.processes()


# --- the ledger


def resumed(folder):
    """Resume in this process; the exit code and what was printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(["resume", str(folder)])
    return code, out.getvalue()


def tear(sweeps, offsets):
    """Resume copies of a sweep that was cut short, each with its ledger torn at another offset."""
    driver = sweeps.start("train", "-m", *JOB, *SPACE, "sweep.trials=8", "hydra.sweep.dir=s")
    sweeps.wait_for_ends(5)
    driver.kill()
    driver.communicate()
    sweeps.wait_for(lambda: not sweeps.processes(), 15)
    whole = (sweeps.folder / "s" / "ledger.jsonl").read_bytes()
    before = finished(sweeps.folder / "s")
    for number, offset in enumerate(offsets(len(whole))):
        copy = sweeps.folder / f"torn{number}"
        shutil.copytree(sweeps.folder / "s", copy)
        (copy / "ledger.jsonl").write_bytes(whole[:offset])
        code, printed = resumed(copy)
        assert code == 0, (offset, printed)
        after = finished(copy)
        assert {name: after[name] for name in before} == before, offset
        trials = sweeps.trials(copy.name)
        assert {trial.status for trial in trials.values()} <= set(FINISHED), offset
        assert len({trial.point for trial in trials.values()}) == 8, (offset, printed)
        assert sorted(trial.folder for trial in trials.values()) == sorted(after), offset


@pytest.mark.long
def test_a_torn_ledger(sweeps):
    rng = random.Random(5)
    tear(sweeps, lambda size: [0, *(rng.randrange(size) for _ in range(3))])


@pytest.mark.soak
def test_a_ledger_torn_at_forty_offsets(sweeps):
    rng = random.Random(7)
    tear(sweeps, lambda size: [rng.randrange(size) for _ in range(40)])


def lines_without(sweeps, wanted, name="s"):
    """Leave the lines out of a ledger for which `wanted` is false."""
    ledger = sweeps.folder / name / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(line for line in lines if wanted(json.loads(line))))


def cut_after(sweeps, wanted, name="s"):
    """Have a ledger end with the first line of a kind, and no folder but those of which it knows an attempt."""
    ledger = sweeps.folder / name / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    last = next(place for place, line in enumerate(lines) if wanted(json.loads(line)))
    ledger.write_bytes(b"".join(lines[: last + 1]))
    begun = {event["number"] for event in sweeps.events(name) if event["event"] == "attempt"}
    for folder in (sweeps.folder / name).iterdir():
        if folder.name.isdigit() and int(folder.name) not in begun:
            shutil.rmtree(folder)


def test_a_combination_has_all_its_seeds_when_a_kill_came_between_their_lines(sweeps):
    sweep = ["-m", *JOB, "model.widths=[8]", "optimizer=sgd,adam", "sweep.seeds=3", "hydra.launcher.slots=1"]
    assert sweeps.run("train", *sweep, "hydra.sweep.dir=s").returncode == 0
    before = {tuple(trial.overrides): trial.objective for trial in sweeps.trials().values()}
    assert len(before) == 6
    cut_after(sweeps, lambda event: event["event"] == "trial" and event["number"] == 4)
    done = sweeps.run("resume", "s")
    assert done.returncode == 0, done.stderr
    assert {tuple(trial.overrides): trial.objective for trial in sweeps.trials().values()} == before
    assert done.stdout.count(" (3)  ") == 2


def test_the_seeds_of_a_pruned_combination_are_left_out_when_a_kill_came_before_their_lines(sweeps):
    sweep = ["-m", *JOB, "model.widths=[8]", "optimizer=sgd", "optimizer.learning_rate=range(0.1,0.001,-0.01)",
             "sweep.seeds=2", "sweep.pruner=asha", "sweep.reduction_factor=2", "hydra.launcher.slots=1"]  # fmt: skip
    assert sweeps.run("train", *sweep, "hydra.sweep.dir=s").returncode == 0
    cut_after(sweeps, lambda event: event["event"] == "end" and event["status"] == "pruned")
    (pruned,) = [trial for trial in sweeps.trials().values() if trial.status == "pruned"]
    assert sweeps.run("resume", "s").returncode == 0
    assert [trial.status for trial in sweeps.trials().values() if trial.point == pruned.point] == ["pruned"] * 2


def test_a_trial_that_is_found_in_its_folder_has_taken_the_time_that_its_record_says(sweeps):
    sweep = ["-m", "callback=[]", "model.widths=[8]", "trainer.epochs=1", "optimizer=sgd,adam",
             "sweep.objective=[valid/accuracy,seconds]"]  # fmt: skip
    assert sweeps.run("train", *sweep, "hydra.sweep.dir=s").returncode == 0
    ledger = sweeps.folder / "s" / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-20])
    (number,) = (number for number, trial in sweeps.trials().items() if trial.status == "running")
    assert sweeps.run("resume", "s").returncode == 0
    trial = sweeps.trials()[number]
    assert trial.objective[1] == trial.seconds == sweeps.record(number)["times"]["seconds"] > 0


def test_a_search_for_two_objectives_goes_on(sweeps):
    sweep = ["-m", *JOB, "optimizer=sgd", "optimizer.learning_rate=tag(log,interval(1e-4,1e-1))", "sweep.trials=3",
             "sweep.objective=[valid/accuracy,epochs]"]  # fmt: skip
    assert sweeps.run("train", *sweep, "hydra.sweep.dir=s").returncode == 0
    done = sweeps.run("resume", "s", "sweep.trials=5")
    assert (done.returncode, done.stderr) == (0, "")
    assert [trial.status for trial in sweeps.trials().values()] == ["completed"] * 5


def test_the_names_of_the_objectives_are_found_again(sweeps):
    sweep = ["-m", "callback=[]", "model.widths=[8]", "trainer.epochs=1", "optimizer=sgd,adam"]
    assert sweeps.run("train", *sweep, "hydra.sweep.dir=s").returncode == 0
    ranking = sweeps.run("resume", "s").stdout
    ledger = sweeps.folder / "s" / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"event":"objectives"', b'"event":"objectjves"'))
    done = sweeps.run("resume", "s")
    assert (done.returncode, done.stdout, done.stderr) == (0, ranking, "")
    assert sweeps.events()[-1] == {"event": "objectives", "objectives": [["valid/accuracy", "max"]]}


def test_a_sweep_goes_on_with_the_plugins_that_it_was_made_with(sweeps):
    sweep = ["-m", "callback=[]", "model.widths=[8]", "trainer.epochs=1", "seed=0,1,2"]
    flags = ["--no-autoload", "-p", "no:trackers", "--allow-plugins", "oarlock"]
    made = sweeps.run("train", *flags, *sweep, "hydra.launcher.slots=1", "hydra.sweep.dir=s")
    assert made.returncode == 0, made.stderr
    lines_without(sweeps, lambda event: event.get("number", 0) == 0)
    same = "-p no:trackers --no-autoload --allow-plugins oarlock"
    for other, named in ((flags[1:], "-p no:trackers --allow-plugins oarlock"), ([], "all plugins")):
        refused = sweeps.run("resume", *other, "s")
        assert (refused.returncode, refused.stderr.splitlines()) == (2, [
            f"error: s: the sweep was made with {same}, and is resumed with {named}.",
            f"Go on with: oarlock resume {same} s",
        ])  # fmt: skip
    done = sweeps.run("resume", *flags, "s")
    assert (done.returncode, done.stdout) == (0, made.stdout[made.stdout.index("best first") :])
    assert sorted(sweeps.trials()) == [0, 1, 2]


def test_runs_are_found_again_whose_command_has_other_flags(sweeps):
    """A launcher of Hydra's does not write the folder of files into a run's command."""
    (sweeps.folder / "conf").mkdir()
    sweep = ["-cd", "conf", "-m", "callback=[]", "model.widths=[8]", "trainer.epochs=1", "seed=0,1"]
    done = sweeps.run("train", *sweep, "hydra/launcher=basic", "hydra.sweep.dir=s")
    assert done.returncode == 0, done.stderr
    before = finished(sweeps.folder / "s")
    lines_without(sweeps, lambda event: event["event"] in ("sweep", "objectives"))
    assert sweeps.run("resume", "s").returncode == 0
    assert finished(sweeps.folder / "s") == before


# --- what may change, and what not


SAME = [
    ["optimizer=shuffle(sgd,momentum,adam,adamw)", "callback=[]"],
    ["callback=[demanding]", "callback.demanding.word=x", "callback.demanding.share=shuffle(1,2,3,4)"],
    ["callback=[endless]", "seed=0,1"],
]


@pytest.mark.parametrize("sweep", SAME, ids=["components", "values", "infinite"])
def test_a_sweep_that_nobody_changed_is_the_same(sweeps, sweep):
    job = ["-p", "trouble", "-m", *sweep, "model.widths=[8]", "trainer.epochs=1", "sweep.trials=1"]
    assert sweeps.run("train", *job, "hydra.sweep.dir=s").returncode == 0
    for _ in range(3):
        done = sweeps.run("resume", "-p", "trouble", "s")
        assert (done.returncode, done.stderr) == (0, "")


def test_a_changed_space_is_refused_with_the_difference(sweeps):
    folder = sweeps.folder / "conf" / "experiment"
    folder.mkdir(parents=True)
    text = "# @package _global_\ntrainer: {epochs: 2}\nsweep: {params: {seed: '0,1'}}\n"
    (folder / "mine.yaml").write_text(text)
    sweep = ["-cd", "conf", "-m", "experiment=mine", "callback=[]", "model.widths=[8]"]
    assert sweeps.run("train", *sweep, "hydra.sweep.dir=s").returncode == 0
    for edited, said in (
        (text.replace("0,1", "0,1,2"), "space.seed was 0,1 and is 0,1,2"),
        (text.replace("epochs: 2", "epochs: 3"), "base.trainer.epochs was 2 and is 3"),
    ):
        (folder / "mine.yaml").write_text(edited)
        before = (sweeps.folder / "s" / "ledger.jsonl").read_bytes()
        done = sweeps.run("resume", "s")
        assert done.returncode == 2
        assert "it is another sweep than it was" in done.stderr
        assert said in done.stderr
        assert (sweeps.folder / "s" / "ledger.jsonl").read_bytes() == before
    (folder / "mine.yaml").write_text(text)
    assert sweeps.run("resume", "s").returncode == 0


def test_a_file_that_is_not_the_first_of_those_swept_over_has_changed(sweeps):
    folder = sweeps.folder / "conf" / "experiment"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text("# @package _global_\nmodel: {widths: [8]}\ntrainer: {epochs: 1}\n")
    sweep = ["-cd", "conf", "-m", "experiment=one,two", "seed=0,1", "callback=[]", "sweep.trials=3"]
    assert sweeps.run("train", *sweep, "hydra.sweep.dir=s").returncode == 0
    before = (folder / "two.yaml").read_text()
    (folder / "two.yaml").write_text(before.replace("[8]", "[16]"))
    done = sweeps.run("resume", "s", "sweep.trials=4")
    assert done.returncode == 2
    assert "it is another sweep than it was" in done.stderr
    assert "choices.experiment=two.model.widths was [8] and is [16]" in done.stderr
    (folder / "two.yaml").write_text(before)
    assert sweeps.run("resume", "s", "sweep.trials=4").returncode == 0


@pytest.mark.long
def test_a_finished_sweep_can_be_given_more_trials(sweeps):
    sweep = ["-m", "callback=[]", "trainer.epochs=1", *SPACE, "sweep.trials=3", "hydra.sweep.dir=s"]
    assert sweeps.run("train", *sweep).returncode == 0
    first = {number: trial.values for number, trial in sweeps.trials().items()}
    done = sweeps.run("resume", "s", "sweep.trials=6")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("sweep: s, 6 finished, 0 failed\n")
    trials = sweeps.trials()
    assert {number: trials[number].values for number in first} == first
    assert len({str(trial.values) for trial in trials.values()}) == 6
    done = sweeps.run("resume", "s", "seed=3")
    assert done.returncode == 2
    assert "seed=3: a resumed sweep is the same sweep" in done.stderr


def test_a_sweep_is_not_told_to_go_on_with_other_versions(sweeps):
    (sweeps.folder / "s").mkdir()
    (sweeps.folder / "s" / "sweep.json").write_text("{}")
    done = sweeps.run("resume", "s", "--allow-drift")
    assert done.returncode == 2
    assert done.stderr == (
        "error: --allow-drift: expected a run's folder; s is a sweep's.\n"
        "Resume the runs in it that were interrupted with --allow-drift, then the sweep without it.\n"
    )


@pytest.mark.long
def test_two_drivers_of_one_sweep(sweeps):
    driver = sweeps.start("train", "-p", "trouble", "-m", "callback=[trouble]", "callback.trouble.how=hang",
                          "model.widths=[8]", "seed=0,1", "hydra.sweep.dir=s")  # fmt: skip
    sweeps.wait_for(lambda: (sweeps.folder / "s" / "ledger.jsonl").exists())
    done = sweeps.run("resume", "-p", "trouble", "s")
    assert done.returncode == 2
    assert "another process is working on this sweep" in done.stderr
    driver.kill()
    driver.communicate()


@pytest.mark.parametrize(
    ("name", "text"), [("sweep.json", "{"), ("sweep.json", "[]"), ("sweep.json", '{"overrides": 3}')]
)
def test_a_record_that_cannot_be_read(sweeps, name, text):
    (sweeps.folder / "s").mkdir()
    (sweeps.folder / "s" / name).write_text(text)
    done = sweeps.run("resume", "s")
    assert done.returncode == 2
    assert "sweep.json is not the record of a sweep" in done.stderr


def test_what_a_resumed_sweep_was_told_it_knows_the_next_time(sweeps):
    job = ["-m", *JOB, "optimizer=sgd", "optimizer.learning_rate=tag(log,interval(1e-4,1e-1))"]
    assert sweeps.run("train", *job, "sweep.trials=2", "hydra.sweep.dir=s").returncode == 0
    refused = sweeps.run("resume", "s", "sweep.trials=3", "sweep.seeds=2")
    assert refused.returncode == 2, refused.stdout
    assert len(sweeps.trials()) == 2
    assert sweeps.run("resume", "s").returncode == 0
    assert len(sweeps.trials()) == 2
    assert sweeps.run("resume", "s", "sweep.trials=3").returncode == 0
    assert json.loads((sweeps.folder / "s" / "sweep.json").read_text())["overrides"].count("sweep.trials=3") == 1
    lines_without(sweeps, lambda event: event.get("number", 0) != 2)
    assert len(sweeps.trials()) == 2
    assert sweeps.run("resume", "s").returncode == 0
    assert len(sweeps.trials()) == 3


@pytest.mark.long
def test_a_sweep_goes_on_with_another_launcher(sweeps):
    sweep = ["-m", "callback=[]", "model.widths=[8]", "trainer.epochs=1", "seed=0,1", "hydra.launcher.threads=1"]
    assert sweeps.run("train", *sweep, "hydra.sweep.dir=s").returncode == 0
    done = sweeps.run("resume", "s", "hydra/launcher=basic")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("sweep: s, 2 finished, 0 failed\n")
