"""Callbacks that write down who was called when, wrappers, and arrays that are changed batch by batch."""

from __future__ import annotations

import os
import signal
from enum import Enum
from typing import Any, Optional

from omegaconf import MISSING

from oarlock import Arrays, Data, component, hookimpl


class Side(Enum):
    """Where an oar is."""

    port = 1
    starboard = 2


@component
class Bow:
    """Writes down every moment, and kills the process or raises at a step when the environment says so."""

    def _say(self, moment):
        with open("moments.txt", "a") as file:
            file.write(f"{type(self).__name__.lower()} {moment}\n")

    @hookimpl
    def on_run_start(self, run):
        self._say("run_start")

    @hookimpl
    def on_epoch_start(self, run):
        self._say(f"epoch_start {run.epoch}")

    @hookimpl
    def on_step_end(self, run):
        self._say(f"step {run.step}")
        if os.environ.get("KILL_AT") == str(run.step):
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get("RAISE_AT") == str(run.step):
            raise ArithmeticError("caught a crab")

    @hookimpl
    def on_evaluation_start(self, run):
        self._say("evaluation_start")

    @hookimpl
    def on_evaluation_end(self, run, metrics):
        self._say(f"evaluation_end {' '.join(metrics)}")

    @hookimpl
    def on_epoch_end(self, run):
        self._say(f"epoch_end {run.epoch}")

    @hookimpl
    def on_checkpoint(self, run, path):
        self._say(f"checkpoint {path.name}")

    @hookimpl
    def on_run_end(self, run):
        self._say(f"run_end {run.status}")

    @hookimpl
    def on_failure(self, run, error):
        self._say(f"failure {error}")


@component
class Cox(Bow):
    """The same, under another name."""


@component
class Early(Bow):
    """Wants to be first, whatever the list says."""

    @hookimpl(tryfirst=True)
    def on_epoch_start(self, run):
        self._say(f"epoch_start {run.epoch}")

    @hookimpl(tryfirst=True)
    def on_step_end(self, run):
        self._say(f"step {run.step}")


@component
class Late(Bow):
    """Wants to be last, whatever the list says."""

    @hookimpl(trylast=True)
    def on_epoch_start(self, run):
        self._say(f"epoch_start {run.epoch}")

    @hookimpl(trylast=True)
    def on_step_end(self, run):
        self._say(f"step {run.step}")


@component
class Zeroed:
    """Wraps the model's construction: every weight starts at zero."""

    @hookimpl(wrapper=True)
    def build_model(self, spec):
        model = yield
        for parameter in model.parameters():
            parameter.set_value(parameter * 0)
        return model


@component
class WrapsGradients:
    """A wrapper where none makes sense."""

    @hookimpl(wrapper=True)
    def after_backward(self, run):
        return (yield)


@component
class WrapsSteps:
    """A wrapper where none makes sense."""

    @hookimpl(wrapper=True)
    def on_step_end(self, run):
        return (yield)


@component
class Absent:
    """Fills a hook of a package that is not installed."""

    @hookimpl(optionalhook=True)
    def steer(self, boat):
        raise AssertionError("nobody can call this")


@component
class Ramps:
    """Rows that count up, with noise on each batch.

    Attributes:
        rows: how many.
        side: which.
        extra: anything.
        fraction: no default.
    """

    rows: int = 16
    side: Optional[Side] = None
    extra: Any = None
    fraction: float = MISSING

    @hookimpl
    def build_data(self):
        import numpy as np

        inputs = np.arange(self.rows * 3, dtype="float32").reshape(self.rows, 3) / 10
        arrays = Arrays(inputs, inputs.sum(1, keepdims=True))
        return Data(arrays, arrays, output_shape=(1,), transform_batch=self._with_noise)

    def _with_noise(self, batch, rng):
        noise = rng.normal()
        with open("noise.txt", "a") as file:
            file.write(f"{noise!r}\n")
        batch.inputs = batch.inputs + self.fraction * noise
        return batch


@hookimpl
def register_components(register):
    for cls in (Bow, Cox, Early, Late, Zeroed, Absent):
        register(f"callback/{cls.__name__.lower()}", cls)
    register("callback/wraps_gradients", WrapsGradients)
    register("callback/wraps_steps", WrapsSteps)
    register("data/ramps", Ramps)
