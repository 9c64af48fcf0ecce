"""Signals and readers that come and go: a second Ctrl-C, a signal after the end, a closed pipe."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time

from tests.conftest import command, environment

SLOW = '''
import pathlib, time
from oarlock import component, hookimpl

@component
class Slow:
    """Hangs in step 3."""

    @hookimpl
    def on_step_end(self, run):
        if run.step == 3:
            pathlib.Path("hanging").touch()
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                time.sleep(0.05)

@hookimpl
def register_components(register):
    register("callback/slow", Slow)
'''


def test_a_second_interrupt_ends_at_once_and_the_run_can_be_resumed(tmp_path, plugin, oarlock):
    env = plugin(SLOW)
    job = ["train", "+callback=slow", "model.widths=[8]", "trainer.checkpoint.every_steps=1", "hydra.run.dir=run"]
    child = subprocess.Popen(
        command(*job), cwd=tmp_path, env=environment(env), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "hanging").exists():
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert child.poll() is None, "the first one waits for the end of the step"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=10)
    assert child.returncode == 75
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "running"
    again = oarlock("resume", "run", "trainer.max_steps=2", env=env)
    assert again.returncode == 0, again.stderr
    assert "from step 2" in again.stdout


def test_a_signal_after_the_end_changes_nothing(tmp_path):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        folder = tmp_path / number.name
        job = ["train", "model.widths=[8]", "trainer.epochs=1", f"hydra.run.dir={folder}"]
        child = subprocess.Popen(
            command(*job), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        while '"status": "completed"' not in ((folder / "run.json").read_text() if folder.exists() else ""):
            assert child.poll() is None
            time.sleep(0.001)
        child.send_signal(number)
        output, errors = child.communicate(timeout=30)
        assert child.returncode == 0, (number, errors)
        assert "completed after 33 steps" in output


def test_a_reader_that_leaves_costs_the_run_nothing(tmp_path):
    job = ["train", "model.widths=[8]", "trainer.epochs=3", "hydra.run.dir=run"]
    child = subprocess.Popen(
        command(*job), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline().startswith("epoch   1")
    child.stdout.close()
    with child.stderr:
        errors = child.stderr.read()
    assert (child.wait(timeout=60), errors) == (0, "")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "completed"


# A session of its own, whose terminal is the one that it was given: what `ssh` and a window start.
SESSION = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


def closed_after(tmp_path, evaluations, *before):
    """Train on a terminal that is closed after so many evaluations; the process, which may go on."""
    leader, follower = pty.openpty()
    job = command("train", "model.widths=[8]", "callback=[]", "trainer.epochs=400", "hydra.run.dir=run")
    child = subprocess.Popen([*command()[:1], "-c", SESSION, *before, *job], cwd=tmp_path, start_new_session=True,
                             stdin=follower, stdout=follower, stderr=follower, env=environment())  # fmt: skip
    os.close(follower)
    rows = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not rows.exists() or len(rows.read_text().splitlines()) < evaluations:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.close(leader)
    # On a terminal that is gone nothing can be said, which changes no exit code.
    assert child.wait(timeout=60) == (0 if before else 75)
    return json.loads((tmp_path / "run" / "run.json").read_text())


def test_a_terminal_that_closes_has_the_run_saved(tmp_path, oarlock):
    record = closed_after(tmp_path, 20)
    assert (record["status"], "SIGHUP" in record["reason"]) == ("interrupted", True), record["reason"]
    assert (tmp_path / "run" / "checkpoints" / f"step-{record['step']:08}").is_dir()
    again = oarlock("resume", "run", "trainer.max_steps=14000")
    assert f"from step {record['step']}\n" in again.stdout


def test_under_nohup_it_goes_on(tmp_path):
    record = closed_after(tmp_path, 20, "nohup")
    assert record["status"] == "completed"
