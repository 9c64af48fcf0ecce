"""Sweeps with more trials than folders: the best and the failures have one, a bare row can be trained again."""

from __future__ import annotations

import json
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plugins.sweeps.conftest import JOB

from oarlock_plugins.sweeps.folders import KeptFolders
from oarlock_plugins.sweeps.ledger import Ledger
from oarlock_plugins.sweeps.ranking import rank

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


def test_a_sweep_that_has_ended_can_be_asked_for_fewer_folders(sweeps):
    assert sweeps.run("train", "-m", *JOB, "seed=range(0,4)", "hydra.sweep.dir=s").returncode == 0
    assert len(folders(sweeps)) == 4
    done = sweeps.run("resume", "s", "sweep.keep=1")
    assert done.returncode == 0, done.stderr
    assert folders(sweeps) == best(sweeps.trials(), 1)
    assert done.stdout.endswith("sweep: s, 4 finished, 0 failed\n")


def test_with_seeds_the_best_point_keeps_its_folder_and_not_the_luckiest_trial(sweeps):
    done = sweeps.run("train", "-m", JOB[1], "trainer.epochs=1", "optimizer.learning_rate=0.001,0.02", "sweep.seeds=3",
                      "sweep.keep=1", "hydra.sweep.dir=s")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    trials = sweeps.trials()
    (best, *_) = rank(trials.values(), [["valid/accuracy", "max"]])
    assert f"best run: s/{best.best.folder}\n" in done.stdout
    assert folders(sweeps) == {best.best.number}
    # It is one of those whose own value says otherwise.
    assert best.best.objective[0] < max(trial.objective[0] for trial in trials.values())


@st.composite
def endings(draw):
    """How many seeds each point has, what its trials come to (None for one that fails), and the order in which they end."""
    seeds = draw(st.integers(1, 3))
    figures = st.one_of(st.none(), st.integers(0, 3))  # few values, so that there are ties
    points = draw(st.lists(st.lists(figures, min_size=seeds, max_size=seeds), min_size=1, max_size=5))
    outcomes = [outcome for point in points for outcome in point]
    return seeds, outcomes, draw(st.permutations(range(len(outcomes))))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(endings(), st.integers(1, 4), st.booleans())
def test_whatever_ends_first_the_folders_of_the_best_points_are_kept(tmp_path_factory, ended, most, taken_up):
    seeds, outcomes, order = ended
    folder = tmp_path_factory.mktemp("s")
    ledger = Ledger(folder)
    ledger.write("sweep", seeds=seeds)
    ledger.write("objectives", objectives=[["valid/accuracy", "max"]])
    for number in range(len(outcomes)):
        ledger.write("trial", number=number, point=number // seeds, values={}, params={}, extra=[], overrides=[],
                     folder=str(number))  # fmt: skip
        (folder / str(number)).mkdir()
    kept = KeptFolders(folder, most, len(outcomes), ledger)
    for number in order:
        outcome = outcomes[number]
        status, objective = ("failed", None) if outcome is None else ("completed", [float(outcome)])
        ledger.write(
            "end", number=number, status=status, error="", seconds=1.0, metrics={}, objective=objective, epochs=1
        )
        if not taken_up:
            kept.note(ledger.trials[number])
            kept.tidy()
    kept.close()
    if taken_up:
        kept = KeptFolders(folder, most, len(outcomes), ledger)
        kept.tidy()
        kept.close()
    ledger.close()
    best_first = [trial.number for one in rank(ledger.trials.values(), ledger.objectives)
                  for trial in sorted(one.trials, key=lambda trial: (-trial.objective[0], trial.number))]  # fmt: skip
    best = best_first[:most] if len(outcomes) > most else best_first
    failed = [number for number, outcome in enumerate(outcomes) if outcome is None]
    assert {int(path.name) for path in folder.iterdir() if path.is_dir()} == {*best, *failed}


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
