"""Sweeps with more trials than folders: the best and the failures have one, a bare row can be trained again."""

from __future__ import annotations

import json
import signal

import pytest
from tests.plugins.sweeps.conftest import JOB

SPACE = ["optimizer.learning_rate=tag(log,interval(1e-4,1e-1))", "seed=interval(0,99)", "sweep.sampler=random"]


def folders(sweeps):
    return {int(path.name) for path in (sweeps.folder / "s").iterdir() if path.name.isdigit()}


def best(trials, count):
    done = [one for one in trials.values() if one.status == "completed"]
    return {one.number for one in sorted(done, key=lambda one: (-one.objective[0], one.number))[:count]}


def test_the_best_keep_their_folder_and_any_row_is_trained_again_exactly(sweeps):
    done = sweeps.run("train", "-m", *JOB, *SPACE, "sweep.trials=12", "sweep.keep=3", "hydra.sweep.dir=s")
    assert (done.returncode, done.stderr) == (0, "")
    trials = sweeps.trials()
    assert len(trials) == 12
    # One of equal value may keep the place of another.
    kept = [trials[number].objective[0] for number in folders(sweeps)]
    assert sorted(kept) == sorted(trials[number].objective[0] for number in best(trials, 3))
    assert "best run: s/" in done.stdout
    assert not list((sweeps.folder / "s" / "logs").iterdir())
    bare = next(one for one in trials.values() if one.number not in folders(sweeps))
    again = sweeps.run("train", *bare.overrides, "hydra.run.dir=again")
    assert again.returncode == 0, again.stderr
    record = json.loads((sweeps.folder / "again" / "run.json").read_text())
    assert record["best"]["value"] == bare.objective[0]
    assert record["metrics"]["test/loss"] == bare.metrics["test/loss"]
    report = json.loads(sweeps.run("report", "s", "--json").stdout)
    assert [row["status"] for row in report["trials"]] == ["completed"] * 12
    kept_files = sweeps.folder / "s" / str(min(folders(sweeps)))
    assert sweeps.run("evaluate", str(kept_files)).returncode == 0


@pytest.mark.long
def test_a_failure_keeps_its_folder_and_its_log(sweeps):
    done = sweeps.run("-p", "trouble", "train", "-m", JOB[0], JOB[2], "callback=[trouble]",
                      "callback.trouble.how=none,raise,exit", "seed=range(4)", "sweep.keep=2", "hydra.sweep.dir=s")  # fmt: skip
    assert done.returncode == 1
    trials = sweeps.trials()
    failed = {one.number for one in trials.values() if one.status == "failed"}
    assert len(failed) == 8
    assert failed < folders(sweeps)
    assert len(folders(sweeps)) == 10
    for number in failed:
        assert sweeps.record(number)["status"] == "failed"
        assert (sweeps.folder / "s" / str(number) / "train.log").read_text()


@pytest.mark.long
def test_what_a_killed_driver_left_bare_stays_and_the_rest_is_trained(sweeps):
    arguments = ["train", "-m", *JOB, *SPACE, "sweep.trials=24", "sweep.keep=3", "hydra.sweep.dir=s"]
    process = sweeps.start(*arguments)
    sweeps.wait_for_ends(8)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    ended = {one.number: one.objective for one in sweeps.trials().values() if one.status == "completed"}
    done = sweeps.run("resume", "s")
    assert done.returncode == 0, done.stderr
    trials = sweeps.trials()
    assert len(trials) == 24
    assert {number: trials[number].objective for number in ended} == ended
    assert all(trials[number].attempts == 1 for number in ended)
    kept = [trials[number].objective[0] for number in folders(sweeps)]
    assert sorted(kept) == sorted(trials[number].objective[0] for number in best(trials, 3))
