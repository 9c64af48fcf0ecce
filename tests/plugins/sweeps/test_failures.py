"""Trials that fail in every way: the others finish, and each failure is listed with its cause."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from tests.conftest import can_mount, command

CAUSES = {
    "raise": "RuntimeError: trouble was asked for",
    "exit": "SystemExit: 3",
    "abort": "killed by SIGABRT",
    "kill": "killed by SIGKILL",
    "hang": "time limit: ",
    "memory": "memory limit: ",
}
JOB = ["model.widths=[8]", "trainer.epochs=2", "callback=[trouble]"]
LIMITS = ["sweep.trial_timeout=8", "sweep.memory_limit=1500M"]


@pytest.mark.long
def test_ten_of_thirty_trials_fail(sweeps):
    """Twelve good seeds and the six failures, then eight good and four failures again with another seed."""
    failing = [*CAUSES, "raise", "exit", "abort", "kill"]
    # What Trouble does not know it does not do: these twenty are good.
    good = [f"good{number}" for number in range(20)]
    hows = [how for number in range(10) for how in (good[2 * number], failing[number], good[2 * number + 1])]
    points = [f"{how}/{hows[:number].count(how)}" for number, how in enumerate(hows)]
    values = ",".join(points)
    done = sweeps.run("train", "-p", "trouble", "-m", *JOB, f"callback.trouble.how={values}", *LIMITS,
                      "hydra.sweep.dir=s")  # fmt: skip
    assert done.returncode == 1
    trials = {trial.values["callback.trouble.how"]: trial for trial in sweeps.trials().values()}
    assert len(trials) == 30
    for point, trial in trials.items():
        how = point.partition("/")[0]
        if how in good:
            assert trial.status == "completed", trial.error
            continue
        assert trial.status == sweeps.record(trial.number)["status"] == "failed"
        assert trial.error.startswith(CAUSES[how])
        (line,) = re.findall(rf"^failed: s/{trial.number}: (.*)$", done.stdout, re.MULTILINE)
        assert line.startswith(CAUSES[how])
        assert line.endswith(f"log: s/logs/{trial.number}.txt")
    assert done.stdout.endswith("sweep: s, 20 finished, 10 failed\n")
    assert not sweeps.processes()


def test_a_failed_trial_is_taken_up_again_where_that_was_asked_for(sweeps):
    once = sweeps.folder / "once"
    done = sweeps.run("train", "-p", "trouble", "-m", *JOB, "callback.trouble.how=kill", f"callback.trouble.once={once}",
                      "trainer.checkpoint.every_epochs=1", "seed=0,1", "sweep.retries=1", "hydra.sweep.dir=s")  # fmt: skip
    assert done.returncode == 0, done.stdout
    trials = sweeps.trials()
    assert {trial.status for trial in trials.values()} == {"completed"}
    assert sorted(trial.attempts for trial in trials.values()) == [1, 2]
    # From its checkpoint, not from the start.
    (log,) = [log for log in (sweeps.folder / "s" / "logs").glob("*.txt") if "resuming" in log.read_text()]
    assert "from step 33" in log.read_text()


def test_so_it_is_with_a_launcher_of_hydra_s(sweeps):
    once = sweeps.folder / "once"
    done = sweeps.run("train", "-p", "trouble", "-m", *JOB, "callback.trouble.how=raise", f"callback.trouble.once={once}",
                      "trainer.checkpoint.every_epochs=1", "seed=0,1", "sweep.retries=1", "hydra/launcher=basic",
                      "hydra.sweep.dir=s")  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert [(trial.status, trial.attempts) for trial in sweeps.trials().values()] == [
        ("completed", 2),
        ("completed", 1),
    ]
    assert sorted(path.name for path in (sweeps.folder / "s").iterdir() if path.name[0].isdigit()) == ["0", "1"]
    assert "resuming s/0 from step 33" in done.stdout + done.stderr


def test_of_many_failures_the_first_are_printed(sweeps):
    done = sweeps.run("train", "-m", "data=mnist", "data.root=nowhere", "seed=range(0,12)", "hydra.sweep.dir=s")
    assert done.returncode == 1
    said = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    assert [line.split(": ")[1] for line in said[:10]] == [f"s/{number}" for number in range(10)]
    assert said[10:] == ["failed: and 2 more; 'oarlock report s' names them all"]
    told = sweeps.run("report", "s").stdout
    assert [line.split(": ")[1] for line in told.splitlines() if line.startswith("failed: ")] == [
        f"s/{number}" for number in range(12)
    ]
    assert re.fullmatch(r"failed: s/0: data\.root=nowhere: there is no [\w -.]+ in it; log: s/logs/0\.txt", said[0])
    assert done.stdout.endswith("sweep: s, 0 finished, 12 failed\n")


@pytest.mark.long
def test_failed_trials_can_be_tried_again_later(sweeps):
    once = sweeps.folder / "once"
    sweep = ["-p", "trouble", "-m", *JOB, "callback.trouble.how=kill", f"callback.trouble.once={once}", "seed=0,1"]
    assert sweeps.run("train", *sweep, "hydra.launcher.slots=1", "hydra.sweep.dir=s").returncode == 1
    assert sweeps.run("resume", "-p", "trouble", "s").returncode == 1
    done = sweeps.run("resume", "-p", "trouble", "s", "sweep.retries=1")
    assert done.returncode == 0, done.stdout
    assert [(trial.status, trial.attempts) for trial in sweeps.trials().values()] == [
        ("completed", 2),
        ("completed", 1),
    ]


# Mounts a disk of little room, sweeps on it until it is full, makes room and goes on.
FULL = """
import subprocess, sys
root = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", root], check=True)
first = subprocess.run([*sys.argv[2:], f"hydra.sweep.dir={root}/s"], capture_output=True, text=True)
print("first", first.returncode, first.stderr)
subprocess.run(["mount", "-o", "remount,size=50m", root], check=True)
again = subprocess.run([*sys.argv[2:-4], "resume", f"{root}/s", "sweep.retries=1"], capture_output=True, text=True)
print("again", again.returncode, again.stdout, again.stderr)
"""


def test_a_full_disk_ends_the_sweep_and_its_trials_say_so(sweeps):
    if not can_mount():
        pytest.skip("mounting a tmpfs in a namespace needs privileges")
    disk = sweeps.folder / "disk"
    disk.mkdir()
    ask = command("train", "-m", "model.widths=[8]", "seed=range(0,60)")
    done = subprocess.run(["unshare", "-m", sys.executable, "-c", FULL, disk, *ask], env=sweeps.environment,
                          capture_output=True, text=True, timeout=200)  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, again = done.stdout.split("again ")
    assert first.startswith("first 1 error: the run failed: ")
    assert "cannot be written: No space left on device.\nWhen it can, 'oarlock resume' goes on" in first
    assert again.startswith("0 ")
    assert "60 finished, 0 failed" in again


def test_what_signals_itself_is_begun_a_few_times_and_has_failed(sweeps):
    """Somebody else's signal is no failure, but one that comes again and again without an evaluation between."""
    done = sweeps.run("train", "-p", "trouble", "-m", *JOB, "callback.trouble.how=term,none", "hydra.sweep.dir=s")
    assert done.returncode == 1, done.stderr
    assert [trial.status for trial in sweeps.trials().values()] == ["failed", "completed"]
    assert sweeps.record(0)["status"] == "failed"
    assert "failed: s/0: stopped by SIGTERM 3 times without an evaluation between" in done.stdout
    assert sum(event["event"] == "attempt" and event["number"] == 0 for event in sweeps.events()) == 3


def test_a_keyboard_interrupt_that_nobody_asked_for_is_a_failure(sweeps):
    done = sweeps.run("train", "-p", "trouble", "-m", *JOB, "callback.trouble.how=interrupt", "seed=0,1",
                      "sweep.retries=1", "hydra.sweep.dir=s")  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert [(trial.status, trial.attempts) for trial in sweeps.trials().values()] == [("failed", 2)] * 2
    assert "failed: s/0: KeyboardInterrupt; log: s/logs/0.txt" in done.stdout


def test_workers_that_cannot_start_end_the_sweep(sweeps):
    (sweeps.folder / "site" / "safetensors.py").write_text("raise ImportError('no such luck')\n")
    done = sweeps.run("train", "-m", "model.widths=[8]", "seed=0,1", "hydra.sweep.dir=s")
    assert done.returncode == 1
    assert "no such luck" in done.stderr
    assert not sweeps.processes()


def test_a_run_that_was_resumed_by_itself_counts_when_its_sweep_goes_on(sweeps):
    sweep = [
        "-p",
        "trouble",
        "-m",
        *JOB,
        "callback.trouble.how=raise",
        f"callback.trouble.once={sweeps.folder / 'once'}",
    ]
    assert sweeps.run("train", *sweep, "seed=0,1", "hydra.launcher.slots=1", "hydra.sweep.dir=s").returncode == 1
    failed = next(trial for trial in sweeps.trials().values() if trial.status == "failed")
    assert sweeps.run("resume", "-p", "trouble", f"s/{failed.folder}").returncode == 0
    done = sweeps.run("resume", "-p", "trouble", "s")
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("sweep: s, 2 finished, 0 failed\n")
    assert sweeps.trials()[failed.number].objective
