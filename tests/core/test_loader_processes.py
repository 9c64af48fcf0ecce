"""Rows from processes of Paddle's loader: what is raised there, and how these end."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.conftest import command, environment

SOURCE = '''
import time
from oarlock import Data, InputSpec, component, hookimpl

class Odd(Exception):
    """It cannot be made anew from its text alone."""

    def __init__(self, row, why):
        super().__init__(f"row {row}: {why}")

class Rows:
    def __init__(self, how):
        self.how = how

    def __len__(self):
        return 60

    def __getitem__(self, index):
        import numpy as np

        if self.how == "slow":
            time.sleep(0.02)
        if self.how == "sample" and index == 30:
            raise ValueError(f"row {index} is no picture")
        if self.how == "text":
            return "a text", 0
        if self.how == "odd" and index == 30:
            raise Odd(index, "is odd")
        return np.full(4, index, "float32"), np.int64(index % 2)

@component
class Broken:
    """Rows of which one is broken in some way."""

    how: str = "sound"

    @hookimpl
    def build_data(self):
        def collate(samples):
            raise KeyError("no such field")

        return Data(Rows(self.how), Rows("sound"), class_names=["a", "b"], inputs=InputSpec((4,)),
                    collate=collate if self.how == "collate" else None)

@hookimpl
def register_components(register):
    register("data/broken", Broken)
'''  # fmt: skip
JOB = ["train", "data=broken", "model.widths=[8]", "callback=[]", "trainer.batch_size=5", "trainer.epochs=2"]


def said_by(oarlock, env, how, workers):
    done = oarlock(*JOB, f"data.how={how}", f"trainer.num_workers={workers}", f"hydra.run.dir=run-{workers}", env=env)
    return done.returncode, done.stderr.replace(f"run-{workers}", "run")


@pytest.mark.parametrize(("how", "said"), [("sample", "ValueError: row 30 is no picture"),
                                           ("collate", "KeyError: 'no such field'")])  # fmt: skip
def test_what_is_raised_there_is_said_as_it_is_here(oarlock, plugin, tmp_path, how, said):
    env = plugin(SOURCE)
    code, there = said_by(oarlock, env, how, 2)
    assert (code, there) == said_by(oarlock, env, how, 0)
    assert code == 1
    assert f"error: the run failed: {said} (at epoch 1, step " in there
    assert "stranger_module.py:" in there
    assert len(there.splitlines()) == 2
    log = (tmp_path / "run-2" / "train.log").read_text()
    assert "stranger_module.py" in log


def test_a_refusal_of_ours_is_one_there_too(oarlock, plugin):
    env = plugin(SOURCE)
    code, there = said_by(oarlock, env, "text", 2)
    assert (code, there) == said_by(oarlock, env, "text", 0)
    assert (code, "this one has a list or a text" in there) == (2, True)


def test_an_error_that_takes_more_than_its_text(oarlock, plugin):
    code, there = said_by(oarlock, plugin(SOURCE), "odd", 2)
    assert code == 1
    assert there.startswith("error: the run failed: Odd: row 30: is odd (at epoch 1, step ")


def test_the_processes_end_without_a_word_when_a_run_stops_in_an_epoch(plugin, tmp_path):
    words = command(*JOB, "trainer.num_workers=2", "trainer.max_steps=3", "hydra.run.dir=run")
    done = subprocess.run(
        words, cwd=tmp_path, env=environment(plugin(SOURCE)), capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_they_get_too_saves_the_run(plugin, tmp_path, number):
    """As from a scheduler, which ends all processes of a job, or from a terminal that closes."""
    job = command(*JOB, "data.how=slow", "trainer.num_workers=2", "trainer.epochs=1000", "hydra.run.dir=run")
    child = subprocess.Popen(job, cwd=tmp_path, env=environment(plugin(SOURCE)), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
    rows = tmp_path / "run" / "metrics.jsonl"
    while not rows.exists() or not rows.read_text():
        assert child.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)  # into the second epoch, with its processes
    os.killpg(child.pid, number)
    _, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (75, f"stopped by {number.name}, saved; 'oarlock resume run' continues it\n")
