"""A run that fails says where, keeps what is good, and resumes once the cause is gone."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from oarlock import checkpoint
from oarlock.epochs import epoch_order

POISONED = '''
import os
import numpy as np
from oarlock import Arrays, Data, component, hookimpl

@component
class Poisoned:
    """Blobs; row 700 is NaN while POISON is set."""

    @hookimpl
    def build_data(self):
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, 900)
        rows = (rng.normal(size=(900, 5)) + labels[:, None]).astype("float32")
        train = Arrays(rows[:800].copy(), labels[:800])
        if os.environ.get("POISON"):
            train.inputs[700] = np.nan
        return Data(train, Arrays(rows[800:], labels[800:]), class_names=["a", "b", "c"])


@component
class Cliff:
    """A penalty of 0 whose gradient is infinite at step AT, while CLIFF is set."""

    traceable = False
    at: int = 45

    @hookimpl
    def on_run_start(self, run):
        self._run = run

    @hookimpl
    def compute_penalty(self, model):
        weight = model.parameters()[0]
        if os.environ.get("CLIFF") and self._run.step + 1 == self.at:
            return (weight - weight.detach()).sum().sqrt()
        return (weight * 0.0).sum()


@component
class Breaks:
    """Raises at a step."""

    at: int = 5

    @hookimpl
    def on_step_end(self, run):
        if os.environ.get("BREAK") and run.step == self.at:
            raise ZeroDivisionError("the callback's own fault")


@hookimpl
def register_components(register):
    register("data/poisoned", Poisoned)
    register("regularizer/cliff", Cliff)
    register("callback/breaks", Breaks)
'''
JOB = ["model.widths=[8]", "optimizer=sgd", "trainer.epochs=3", "trainer.checkpoint.every_steps=10",
       "trainer.checkpoint.keep=50"]  # fmt: skip


def all_finite(run):
    for path in checkpoint.newest_first(run / "checkpoints"):
        for name, content in checkpoint.read(path).items():
            if name.endswith(".safetensors"):
                assert all(np.isfinite(array).all() for array in checkpoint.unpack_arrays(content).values()), path
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cause", "job", "step"),
    [
        # ReLU turns the NaN into 0, so the loss stays finite and the gradient does not.
        ("POISON", ["data=poisoned"], list(epoch_order(0, 0, 800)).index(700) // 32 + 1),
        # The loss of step 45 is finite, its gradient is not; the next loss shows it.
        ("CLIFF", ["regularizer=[cliff]"], 46),
    ],
)
def test_non_finite_numbers_fail_the_run_and_are_never_checkpointed(oarlock, plugin, tmp_path, cause, job, step):
    env = plugin(POISONED)
    assert oarlock("train", *JOB, *job, "hydra.run.dir=whole", env=env).returncode == 0
    failed = oarlock("train", *JOB, *job, "hydra.run.dir=run", env={**env, cause: "1"})
    assert failed.returncode == 1
    found = re.search(r"the loss of step (\d+) is|are not finite after steps (\d+) to (\d+)", failed.stderr)
    assert found, failed.stderr
    first, last = int(found[1] or found[2]), int(found[1] or found[3])
    assert first <= step <= last < first + 20
    assert len(failed.stderr.strip().splitlines()) <= 3
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "failed"
    assert found[0] in record["reason"]
    assert all_finite(tmp_path / "run")
    again = oarlock("resume", "run", env=env)
    assert again.returncode == 0, again.stderr
    ends = [checkpoint.newest_intact(tmp_path / name / "checkpoints")[1] for name in ("run", "whole")]
    ours, theirs = (checkpoint.unpack_arrays(end["model.safetensors"]) for end in ends)
    assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)


UNSEEN = '''
import numpy as np
import paddle
from oarlock import component, hookimpl

class Idle(paddle.nn.Layer):
    def __init__(self, widths):
        super().__init__()
        self.used = paddle.nn.Linear(*widths)
        self.unused = self.create_parameter([3])

    def forward(self, rows):
        return self.used(rows.flatten(1))

@component
class WithUnused:
    """A model with a parameter that nothing is computed of."""

    @hookimpl
    def build_model(self, spec):
        return Idle([int(np.prod(spec.input_shape)), spec.num_outputs])

class Strict:
    """Cannot measure what is not a number."""

    direction = "max"

    def reset(self): pass

    def accumulate(self): return 1.0

    def update(self, output, batch):
        if not np.isfinite(output.numpy()).all():
            raise ValueError("input contains NaN")

@component
class Spoils:
    """Makes a parameter infinite after a step."""

    at: int
    used: bool = False

    @hookimpl
    def on_step_end(self, run):
        if run.step == self.at:
            layer = run.model.used if self.used else run.model
            name = "weight" if self.used else "unused"
            getattr(layer, name).set_value(paddle.full(getattr(layer, name).shape, np.inf))

    @hookimpl(tryfirst=True)
    def build_metrics(self):
        return {"strict": Strict()} if self.used else None

@hookimpl
def register_components(register):
    register("model/with_unused", WithUnused)
    register("callback/spoils", Spoils)
'''


@pytest.mark.parametrize("engine", ["compiled", "eager"])
@pytest.mark.parametrize(("at", "seen"), [(10, 33), (33, 33), (70, 78), (89, 99), (99, 99)])
def test_weights_that_no_metric_shows(oarlock, plugin, tmp_path, at, seen, engine):
    """They are looked at where there are best ones, as after the first 33 steps here, 45 steps later, and at the end."""
    job = ["model=with_unused", "callback=[spoils]", f"callback.spoils.at={at}", "trainer.check_finite_every=45",
           "trainer.epochs=3", "optimizer=sgd", "optimizer.learning_rate=1e-9", f"trainer.engine={engine}",
           "trainer.monitor=valid/accuracy", "hydra.run.dir=run"]  # fmt: skip
    done = oarlock("train", *job, env=plugin(UNSEEN))
    assert done.returncode == 1
    found = re.search(r"the weights unused are not finite after steps (\d+) to (\d+)", done.stderr)
    assert found, done.stderr
    assert int(found[1]) <= at <= int(found[2]) == seen
    assert all_finite(tmp_path / "run")


def test_a_metric_that_cannot_measure_what_is_not_finite_is_not_what_is_told(oarlock, plugin):
    job = ["model=with_unused", "callback=[spoils]", "callback.spoils.at=33", "callback.spoils.used=true",
           "trainer.epochs=3", "hydra.run.dir=run"]  # fmt: skip
    done = oarlock("train", *job, env=plugin(UNSEEN))
    assert done.returncode == 1
    assert "the weights used.weight are not finite after steps 1 to 33" in done.stderr
    assert "NaN" not in done.stderr


def test_an_exception_in_a_component_is_short_on_the_terminal_and_whole_in_the_log(oarlock, plugin, tmp_path):
    env = plugin(POISONED)
    done = oarlock("train", *JOB, "+callback=breaks", "hydra.run.dir=run", env={**env, "BREAK": "1"})
    assert done.returncode == 1
    assert "ZeroDivisionError: the callback's own fault" in done.stderr
    assert "step 5" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in (tmp_path / "run" / "train.log").read_text()
    again = oarlock("resume", "run", env=env)
    assert again.returncode == 0
    assert "from the start" in again.stdout


ODD = '''
import numpy as np
import paddle
from oarlock import Data, InputSpec, component, hookimpl


class Rows(paddle.io.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        if index == 40:
            raise KeyError("row 40 is not there")
        return np.full(3, index, "float32"), index % 2


@component
class Odd:
    """One of its rows raises."""

    @hookimpl
    def build_data(self):
        return Data(Rows(), inputs=InputSpec((3,)), class_names=["a", "b"])


@component
class Plateau:
    """A schedule that follows a metric, and steps itself."""

    @hookimpl
    def build_schedule(self, learning_rate):
        self._schedule = paddle.optimizer.lr.ReduceOnPlateau(learning_rate, mode="max", patience=0, factor=0.5)
        return self._schedule

    @hookimpl
    def on_evaluation_end(self, metrics):
        self._schedule.step(0.0)


@component
class Exits:
    """Ends the process by itself."""

    @hookimpl
    def on_step_end(self, run):
        raise SystemExit(0)


@hookimpl
def register_components(register):
    register("data/odd", Odd)
    register("schedule/plateau", Plateau)
    register("callback/exits", Exits)
'''


def test_a_sample_that_raises_fails_the_run(oarlock, plugin):
    done = oarlock("train", "data=odd", "callback=[]", "trainer.batch_size=8", env=plugin(ODD), timeout=60)
    assert done.returncode == 1
    assert "row 40 is not there" in done.stderr


def test_a_component_that_exits_fails_the_run(oarlock, plugin, tmp_path):
    done = oarlock("train", "callback=[exits]", "hydra.run.dir=run", env=plugin(ODD))
    assert done.returncode == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


def test_a_schedule_that_follows_a_metric_steps_itself(oarlock, plugin, tmp_path):
    job = ["train", "schedule=plateau", "callback=[]", "trainer.epochs=3", "optimizer.learning_rate=0.004"]
    assert oarlock(*job, "hydra.run.dir=run", env=plugin(ODD)).returncode == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["learning_rate"] for line in lines] == pytest.approx([0.004, 0.004, 0.002])


def test_an_error_in_a_plugin_says_in_which_line_and_where_the_traceback_is(oarlock, plugin):
    env = plugin(
        "from oarlock import component, hookimpl\n"
        "@component\n"
        "class Slip:\n"
        "    'Asks for what is not there.'\n"
        "    @hookimpl\n"
        "    def on_evaluation_end(self, run):\n"
        "        run.bets\n"
        "@hookimpl\n"
        "def register_components(register):\n"
        "    register('callback/slip', Slip)\n"
    )
    done = oarlock("train", "callback=[slip]", "model.widths=[8]", "hydra.run.dir=run", env=env)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first == "error: the run failed: AttributeError: 'Run' object has no attribute 'bets' (at epoch 1, step 33)"
    assert second.endswith("stranger_module.py:7; traceback: run/train.log")
