"""What happens between the steps of a program: weights that get other storage, results and batches that are kept."""

from __future__ import annotations

import json

import pytest

import oarlock as package
from oarlock import arrays_feeder, hookimpl
from tests.conftest import equal_ends

PARTS = '''
from __future__ import annotations
from oarlock import component, hookimpl

def shrink(run):
    import paddle
    with paddle.no_grad():
        for parameter in run.model.parameters():
            parameter.data = parameter * 0.99

@component
class Moment:
    """Gives the weights other storage at a moment.

    Args:
        moment: the hook's name.
    """

    moment: str = "on_epoch_end"
    changes_run = True

    @hookimpl
    def on_run_start(self, run):
        self._run = run

    @hookimpl
    def on_epoch_start(self, run):
        self._at("on_epoch_start", run)

    @hookimpl
    def on_epoch_end(self, run):
        self._at("on_epoch_end", run)

    @hookimpl
    def on_evaluation_start(self, run):
        self._at("on_evaluation_start", run)

    @hookimpl
    def on_evaluation_end(self, run, metrics):
        self._at("on_evaluation_end", run)

    @hookimpl
    def on_checkpoint(self, run):
        if run.step < run.total_steps:
            self._at("on_checkpoint", run)

    def _at(self, moment, run):
        if moment == self.moment:
            shrink(run)

@component
class Quiet:
    """Says nothing of what it changes, and has the run from another hook."""

    @hookimpl
    def on_run_start(self, run):
        self._run = run

    @hookimpl
    def on_step_end(self):
        shrink(self._run)

@component
class Counter:
    """Takes nothing."""

    @hookimpl
    def on_step_end(self):
        self.steps = getattr(self, "steps", 0) + 1

@component
class Closed(Counter):
    """Tells who looks into it, after which CPython 3.11 and 3.12 have no place for its attributes but a dict."""

    @property
    def __dict__(self):
        raise AssertionError("somebody looks into it")

@hookimpl
def register_components(register):
    register("callback/moment", Moment)
    register("callback/quiet", Quiet)
    register("callback/counter", Counter)
    register("callback/closed", Closed)
'''
JOB = ["train", "model.widths=[8]", "trainer.epochs=4", "trainer.drop_last=false"]


def both(command, env, tmp_path, *words):
    for engine in ("compiled", "eager"):
        done = command(*JOB, *words, f"trainer.engine={engine}", f"hydra.run.dir={engine}", env=env)
        assert (done.returncode, done.stderr) == (0, "")
    return equal_ends(tmp_path / "compiled", tmp_path / "eager")


@pytest.mark.parametrize("evaluated", ["1 epoch", "5 steps"])
@pytest.mark.parametrize("moment", ["epoch_start", "epoch_end", "evaluation_start", "evaluation_end"])
def test_other_storage_at_any_moment_is_the_program_s(oarlock, plugin, tmp_path, moment, evaluated):
    words = ["callback=[moment]", f"callback.moment.moment=on_{moment}", f"trainer.evaluate_every={evaluated}"]
    assert both(oarlock, plugin(PARTS), tmp_path, *words)


def test_other_storage_after_a_checkpoint_is_the_program_s(oarlock, plugin, tmp_path):
    """When a checkpoint is complete depends on the disk, so there is nothing to compare with: the weights must shrink."""
    words = ["callback=[moment]", "callback.moment.moment=on_checkpoint", "trainer.checkpoint.every_steps=4",
             "optimizer=sgd", "optimizer.learning_rate=1e-6"]  # fmt: skip
    env = plugin(PARTS.replace("0.99", "0.0"))
    done = oarlock(*JOB, *words, "trainer.engine=compiled", "hydra.run.dir=run", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert abs(last["train/loss"] - 2.302585) < 0.01  # the logarithm of ten classes, of which it knows nothing any more


def test_a_hook_without_arguments_whose_class_has_the_run_is_watched(oarlock, plugin, tmp_path):
    assert both(oarlock, plugin(PARTS), tmp_path, "callback=[quiet]")


def test_nobody_looks_into_a_callback(oarlock, plugin, tmp_path):
    assert both(oarlock, plugin(PARTS), tmp_path, "callback=[closed]")


ALTERS = '''
from __future__ import annotations
import os
from types import SimpleNamespace
from typing import Optional
import numpy as np
from oarlock import component, hookimpl
from oarlock_plugins.tasks.classification import Classification

@component
class Scaled(Classification):
    """A task whose loss is scaled."""

    def __post_init__(self):
        super().__post_init__()
        self.inside, self.weights = [SimpleNamespace(scale=1.0)], np.ones(10, "float32")

    @hookimpl
    def compute_loss(self, output, batch):
        import paddle
        return super().compute_loss(output * paddle.to_tensor(self.weights), batch) * self.inside[0].scale

@component
class Parts:
    """A model with much that can be changed."""

    @hookimpl
    def build_model(self, spec):
        import paddle
        from paddle import nn

        class Net(nn.Layer):
            def __init__(self):
                super().__init__()
                self.flat, self.hidden, self.drop = nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.1)
                self.act, self.out, self.temperature = nn.ReLU(), nn.Linear(16, 10), 1.0

            def forward(self, x):
                return self.out(self.act(self.drop(self.hidden(self.flat(x))))) / self.temperature

        return Net()

def dropout(run, now): run.model.drop.p = 0.5 if now else 0.1
def frozen(run, now): run.model.hidden.weight.stop_gradient = now
def smoothed(run, now): run.components["task"].label_smoothing = 0.2 if now else 0.0
def scaled(run, now): run.components["task"].inside[0].scale = 2.0 if now else 1.0
def weighed(run, now): run.components["task"].weights[3:] = 2.0 if now else 1.0
def momentum(run, now): run.optimizer._momentum = 0.5 if now else 0.9
def hooked(run, now):
    if now and not run.model.act._forward_post_hooks:
        run.model.act.register_forward_post_hook(lambda layer, inputs, output: output * 2)
def replaced(run, now):
    from paddle import nn
    if now and isinstance(run.model.act, nn.ReLU):
        run.model.act = nn.Tanh()
def halved(run, now): run.model.out.weight.optimize_attr["learning_rate"] = 0.5 if now else 1.0
def quieted(run, now): run.model.drop.train() if not now else run.model.drop.eval()
def cooled(run, now): run.model.temperature = 3.0 if now else 1.0

@component
class Alters:
    """Changes something of a run from some step on, or for the time of an evaluation."""

    what: str = "dropout"
    hook: str = "on_epoch_start"
    first: int = 60
    killed_at: Optional[int] = None

    @hookimpl
    def on_run_start(self, run):
        self._at("on_step_end", run)  # what it had changed before a resume

    @hookimpl
    def on_epoch_start(self, run):
        self._at("on_epoch_start", run)

    @hookimpl
    def on_epoch_end(self, run):
        self._at("on_epoch_end", run)

    @hookimpl
    def on_evaluation_start(self, run):
        self._at("on_evaluation_start", run)

    @hookimpl
    def on_evaluation_end(self, run, metrics):
        if self.hook == "on_evaluation_start":
            globals()[self.what](run, False)

    @hookimpl
    def on_step_end(self, run):
        if run.step == self.killed_at and not os.environ.get("RESUMED"):
            os.kill(os.getpid(), 9)
        self._at("on_step_end", run)

    def _at(self, hook, run):
        if hook == self.hook:
            globals()[self.what](run, run.step >= self.first)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

@hookimpl
def register_components(register):
    register("task/scaled", Scaled)
    register("model/parts", Parts)
    register("callback/alters", Alters)
'''
ALTERED = {
    "dropout": "model.drop.p", "frozen": "model.hidden.weight.stop_gradient", "smoothed": "task.label_smoothing",
    "scaled": "task.inside.scale", "weighed": "task.weights", "momentum": "optimizer 0._momentum", "hooked": "model.act._forward_post_hooks.",
    "replaced": "model.act", "cooled": "model.temperature", "halved": "model.out.weight.optimize_attr",
    "quieted": "model.drop.training",
}  # fmt: skip
ALTERING = ["train", "task=scaled", "model=parts", "callback=[alters]", "optimizer=momentum", "trainer.epochs=4"]


@pytest.mark.parametrize(("what", "hook"), [
    *((what, "on_epoch_start") for what in ALTERED), *((what, "on_step_end") for what in ALTERED),
    *((what, "on_evaluation_start") for what in ("smoothed", "hooked", "cooled", "weighed")),
])  # fmt: skip
def test_what_a_callback_changes_is_what_the_next_step_is_made_with(oarlock, plugin, tmp_path, what, hook):
    env, words = plugin(ALTERS), [f"callback.alters.what={what}", f"callback.alters.hook={hook}"]
    done = oarlock(*ALTERING, *words, "hydra.run.dir=auto", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("warning: engine eager: from step ")
    assert ALTERED[what] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert json.loads((tmp_path / "auto" / "run.json").read_text())["engine"] == "eager"
    assert oarlock(*ALTERING, *words, "trainer.engine=eager", "hydra.run.dir=eager", env=env).returncode == 0
    assert equal_ends(tmp_path / "auto", tmp_path / "eager")


def test_where_the_run_is_to_be_compiled_that_is_an_error(oarlock, plugin):
    done = oarlock(*ALTERING, "trainer.engine=compiled", "hydra.run.dir=run", env=plugin(ALTERS))
    assert done.returncode == 2
    assert "trainer.engine=compiled: a callback has changed model.drop.p, which a program froze." in done.stderr


@pytest.mark.parametrize("killed_at", [50, 80])
def test_a_run_that_changed_from_a_program_to_eager_is_resumed_exactly(oarlock, plugin, tmp_path, killed_at):
    env, words = plugin(ALTERS), ["callback.alters.hook=on_step_end", "trainer.checkpoint.every_steps=7"]
    assert oarlock(*ALTERING, *words, "hydra.run.dir=whole", env=env).returncode == 0
    assert (
        oarlock(*ALTERING, *words, f"callback.alters.killed_at={killed_at}", "hydra.run.dir=cut", env=env).returncode
        == -9
    )
    done = oarlock("resume", "cut", env={**env, "RESUMED": "1"})
    assert done.returncode == 0, done.stderr
    assert equal_ends(tmp_path / "whole", tmp_path / "cut")


GATHERS = '''
from __future__ import annotations
from oarlock import component, hookimpl
from oarlock_plugins.tasks.classification import Accuracy, Classification

@component
class Gathers(Classification):
    """Has its metric at hand."""

    @hookimpl
    def build_metrics(self, data):
        self._metric = Accuracy()
        return {"accuracy": self._metric}

@component
class Norms:
    """Looks at the weights, and remembers what it saw."""

    @hookimpl
    def on_run_start(self, run):
        self.seen = []

    @hookimpl
    def on_step_end(self, run):
        self.seen.append(float(run.model.parameters()[0].norm()))

@hookimpl
def register_components(register):
    register("task/gathers", Gathers)
    register("callback/norms", Norms)
'''


def test_what_changes_beside_the_steps_does_not_matter(oarlock, plugin, tmp_path):
    assert both(oarlock, plugin(GATHERS), tmp_path, "task=gathers", "callback=[norms,ema]", "schedule=reduce_on_plateau",
                "schedule.patience=1", "schedule.min_delta=1", "optimizer=adamw")  # fmt: skip
    assert json.loads((tmp_path / "compiled" / "run.json").read_text())["engine"] == "compiled"


KEEPERS = '''
from __future__ import annotations
import math
from oarlock import component, hookimpl
from oarlock_plugins.tasks.classification import Classification

class Spread:
    """The mean distance of the outputs from those of the evaluation before, all of which it keeps."""

    direction = "min"

    def __init__(self):
        self._before, self._outputs = None, []

    def reset(self):
        self._before, self._outputs = self._outputs, []

    def update(self, output, batch):
        self._outputs.append(output)

    def accumulate(self):
        if [one.shape for one in self._before or ()] != [one.shape for one in self._outputs]:
            return 0.0
        return sum(float((one - other).abs().mean()) for one, other in zip(self._outputs, self._before))

@component
class Kept(Classification):
    """A task with that metric."""

    @hookimpl
    def build_metrics(self, data):
        return {**super().build_metrics(data), "spread": Spread()}

@component
class Remembers:
    """A model that cannot be compiled for few rows, and remembers what these were."""

    @hookimpl
    def build_model(self, spec):
        import paddle
        from paddle import nn

        class Net(nn.Layer):
            def __init__(self):
                super().__init__()
                self.flat, self.out = nn.Flatten(), nn.Linear(math.prod(spec.input_shape), spec.num_outputs)

            def forward(self, x):
                x = self.flat(x)
                if self.training and x.shape[0] < 32:
                    if x.mean() > -1:
                        SEEN.append(x)
                return self.out(x)

        return Net()

SEEN = []

@component
class Shows:
    """Writes what was remembered."""

    changes_run = False

    @hookimpl
    def on_run_end(self, run):
        import json
        (run.folder / "seen.json").write_text(json.dumps([one.numpy().tolist() for one in SEEN]))
        SEEN.clear()

@hookimpl
def register_components(register):
    register("task/kept", Kept)
    register("model/remembers", Remembers)
    register("callback/shows", Shows)
'''


@pytest.mark.parametrize("rows", ["1024", "100"])
def test_outputs_that_a_metric_keeps_stay_what_they_were(oarlock, plugin, tmp_path, rows):
    assert both(oarlock, plugin(KEEPERS), tmp_path, "task=kept", f"trainer.evaluation_batch_size={rows}", "callback=[]")
    rows = [json.loads(line) for line in (tmp_path / "compiled" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["valid/spread"] == 0 < rows[1]["valid/spread"]


def test_a_batch_that_a_model_keeps_stays_what_it_was(oarlock, plugin, tmp_path):
    env = plugin(KEEPERS)
    seen = {}
    for engine in ("auto", "eager"):
        job = ["train", "model=remembers", "trainer.epochs=4", "trainer.drop_last=false", "callback=[shows]"]
        done = oarlock(*job, f"trainer.engine={engine}", f"hydra.run.dir={engine}", env=env)
        assert done.returncode == 0
        assert ("rows are eager" in done.stderr) == (engine == "auto")
        seen[engine] = json.loads((tmp_path / engine / "seen.json").read_text())
    assert json.loads((tmp_path / "auto" / "run.json").read_text())["engine"] == "compiled"
    assert len(seen["eager"]) == 4
    assert seen["auto"][-4:] == seen["eager"]  # it was tried with the first of them before


@pytest.mark.parametrize("accumulate", [1, 2])
def test_who_gives_one_list_again_and_again_trains_on_what_is_in_it(tmp_path, accumulate):
    """A program is found by the batches, whatever list they come in."""

    class Steps:
        @hookimpl
        def on_run_start(self, run):
            run.model.train()
            one = []
            for batches in list(run.feeder.epoch(0, 0))[:6] * 2:
                one[:] = batches
                losses.extend(run.read_losses([run.training_step(one)]))

    found = []
    for engine in ("compiled", "eager"):
        losses = []
        package.train([*JOB[1:], f"trainer.engine={engine}", f"trainer.accumulate_steps={accumulate}",
                       f"hydra.run.dir={tmp_path}/{engine}"], hooks=[Steps()])  # fmt: skip
        found.append(losses)
    assert found[0] == found[1]
    assert len(set(found[0])) == 12


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_epoch_whose_rows_come_in_stretches(tmp_path, monkeypatch, accumulate, changed):
    """They lie where those of the stretch before lay; also after a change in the midst of one, when steps become eager."""
    monkeypatch.setattr(arrays_feeder, "STRETCH_BYTES", 60_000)  # 7 steps of 32 rows

    class Smooths:
        @hookimpl
        def on_step_end(self, run):
            if changed and run.step == 60:
                run.components["task"].label_smoothing = 0.2

    for engine in ("auto", "eager"):
        package.train([*JOB[1:], f"trainer.engine={engine}", f"trainer.accumulate_steps={accumulate}",
                       f"hydra.run.dir={tmp_path}/{engine}"], hooks=[Smooths()])  # fmt: skip
    assert json.loads((tmp_path / "auto" / "run.json").read_text())["engine"] == ("eager" if changed else "compiled")
    assert equal_ends(tmp_path / "auto", tmp_path / "eager")
