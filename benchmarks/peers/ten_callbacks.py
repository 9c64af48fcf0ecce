"""oarlock, run after run in one process, with callbacks that do next to nothing and without; arguments: seconds, report.

All runs are of one experiment, which the default callbacks are part of, and are made by the very same programs in the same
memory, whose place makes up to 3 % of a step of *small*. The others are given to a run as objects with hooks, which are
registered and called as those of components are. Runs are short and in random order.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path

import oarlock
from oarlock import hookimpl

TEN = range(10)
EPOCHS = 10
WARM = 2  # epochs of a run that are not counted
EXPERIMENT = [
    "data=digits", "model=bn_mlp", "model.widths=[128]", "optimizer=momentum", "trainer.batch_size=32", "trainer.drop_last=true",
    "trainer.evaluation_batch_size=1024", f"trainer.epochs={EPOCHS}", "callback=[progress,early_stopping]",
    "callback.early_stopping.patience=1000000", "device=cpu",
]  # fmt: skip


def ten(kind):
    """Ten callbacks of a kind, of classes that share nothing, not even code, as those of ten authors do not."""
    return [types.new_class(f"{kind.__name__}{number}", exec_body=lambda own: own.update(body(kind))) for number in TEN]


def body(kind):
    """What is in a class, with copies of the code of its functions; CPython specializes each for one class (PEP 659)."""
    copied = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    for name, value in copied.items():
        if isinstance(value, types.FunctionType):
            copied[name] = types.FunctionType(value.__code__.replace(), value.__globals__, name)
            vars(copied[name]).update(vars(value))
    return copied


class Idle:
    """Does nothing after each step: what is left is the call."""

    @hookimpl
    def on_step_end(self):
        pass


class Reads:
    """Notes which step it was."""

    @hookimpl
    def on_step_end(self, run):
        self.last = run.step


class Watches:
    """Does so too, and says that it changes nothing of the run."""

    changes_run = False

    @hookimpl
    def on_step_end(self, run):
        self.last = run.step


class Counts:
    """Counts steps, epochs and evaluations, as most callbacks do at least."""

    @hookimpl
    def on_run_start(self):
        self.steps = self.epochs = self.evaluations = 0

    @hookimpl
    def on_step_end(self):
        self.steps += 1

    @hookimpl
    def on_evaluation_end(self):
        self.evaluations += 1

    @hookimpl
    def on_epoch_end(self):
        self.epochs += 1


class CountsEpochs:
    """Counts epochs, and has no part in the steps."""

    @hookimpl
    def on_run_start(self):
        self.epochs = 0

    @hookimpl
    def on_epoch_end(self):
        self.epochs += 1


class Numbers:
    """What one of those that count counts."""

    def __init__(self):
        self.steps = self.epochs = self.evaluations = 0


class CountsByHand:
    """Does in one hook what ten that count do in theirs, without a call: what their own work costs."""

    def __init__(self):
        self.ten = tuple(type(f"Numbers{number}", (Numbers,), {})() for number in TEN)

    @hookimpl
    def on_step_end(self):
        a, b, c, d, e, f, g, h, i, j = self.ten
        a.steps += 1
        b.steps += 1
        c.steps += 1
        d.steps += 1
        e.steps += 1
        f.steps += 1
        g.steps += 1
        h.steps += 1
        i.steps += 1
        j.steps += 1

    @hookimpl
    def on_evaluation_end(self):
        for one in self.ten:
            one.evaluations += 1

    @hookimpl
    def on_epoch_end(self):
        for one in self.ten:
            one.epochs += 1


class Clock:
    """Notes when each epoch was over, with its evaluation."""

    def __init__(self):
        self.times = []

    @hookimpl(trylast=True)
    def on_evaluation_end(self):
        self.times.append(time.perf_counter())


VARIANTS = {
    "without": [],
    "without, once more": [],
    "ten do nothing": ten(Idle),
    "ten look at the run": ten(Reads),
    "ten look and say so": ten(Watches),
    "ten count": ten(Counts),
    "counted by hand": [CountsByHand],
    "ten count epochs": ten(CountsEpochs),
}


def main(seconds, report):
    runner, found = oarlock.Runner(), {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as scratch:
        oarlock.train([*EXPERIMENT, f"hydra.run.dir={scratch}/first"])
        experiment = oarlock.load_experiment(f"{scratch}/first")

        def run(name):
            """The seconds of each epoch of a new run."""
            clock = Clock()
            hooks = [*(kind() for kind in VARIANTS[name]), clock]
            runner.train(experiment, Path(scratch) / "run", hooks, keeps=lambda run: False)
            return [after - before for before, after in zip(clock.times[WARM - 1 :], clock.times[WARM:], strict=False)]

        for name in [*VARIANTS] * 2:  # what is compiled or cached late is not measured
            run(name)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for name in random.sample(list(VARIANTS), len(VARIANTS)):
                found[name] += run(name)
    Path(report).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Paddle warns of its own internals; oarlock keeps that from its users
    main(float(sys.argv[1]), sys.argv[2])
