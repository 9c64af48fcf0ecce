"""A plugin for these tests: small data, a scripted metric, a record of every step, parameter groups."""

from __future__ import annotations

from dataclasses import field
from typing import Optional

import numpy as np

from oarlock import Arrays, Data, InputSpec, component, hookimpl


@component
class ToyData:
    """Normal inputs, and targets that are a linear function of them with noise.

    Args:
        rows: training rows; there are half as many for validation.
        shape: of one input.
        outputs: values in a target.
        target_scale: the size of the targets, and with it the size of the gradients.
        stream: give the training rows without a length.
    """

    rows: int = 12
    shape: list[int] = field(default_factory=lambda: [3])
    outputs: int = 2
    target_scale: float = 1.0
    stream: bool = False

    @hookimpl
    def build_data(self):
        train, valid = toy_rows(self.rows, self.shape, self.outputs, self.target_scale)
        inputs = InputSpec(tuple(self.shape))
        samples = Rows(train) if self.stream else train
        return Data(samples, valid, inputs=inputs, output_shape=(self.outputs,))


class Rows:
    """An iterable without length."""

    def __init__(self, arrays):
        self._arrays = arrays

    def __iter__(self):
        return iter([self._arrays[number] for number in range(len(self._arrays))])


def toy_rows(rows=12, shape=(3,), outputs=2, target_scale=1.0):
    """The rows of `data=toy`: training and validation."""
    rng = np.random.default_rng(7)
    total = rows + rows // 2
    inputs = rng.normal(size=(total, *shape)).astype("float32")
    slopes = rng.normal(size=(int(np.prod(shape)), outputs))
    targets = inputs.reshape(total, -1) @ slopes + 1 + 0.3 * rng.normal(size=(total, outputs))
    arrays = Arrays(inputs, (target_scale * targets).astype("float32"))
    return arrays.take(slice(0, rows)), arrays.take(slice(rows, None))


@component
class Scripted:
    """A task whose evaluations give the values of a list; the last is repeated.

    Args:
        values: one a evaluation.
        direction: max or min.
    """

    values: list[float] = field(default_factory=lambda: [0.0])
    direction: str = "max"

    def __post_init__(self):
        self._given = 0

    @hookimpl
    def compute_loss(self, output, batch):
        return output.square().mean()

    @hookimpl
    def build_metrics(self):
        return {"score": Score(self.direction), "other": Score("min")}

    @hookimpl
    def evaluate(self, run, data):
        value = self.values[min(self._given, len(self.values) - 1)]
        self._given += 1
        return {"score": value, "other": -float(self._given)}

    def state_dict(self):
        return {"given": self._given}

    def load_state_dict(self, state):
        self._given = state["given"]


class Score:
    """Only a direction: `Scripted` evaluates by itself."""

    def __init__(self, direction):
        self.direction = direction


@component
class Trace:
    """Write down gradients, learning rate and weights of every step, as trace.npz in the run's folder."""

    def __post_init__(self):
        self._arrays = {}

    @hookimpl
    def on_run_start(self, run):
        self._note("weights", run)

    @hookimpl
    def after_backward(self, run):
        self._arrays[f"rate/{run.step}"] = np.array(run.learning_rate())
        for path, parameter in run.model.named_parameters():
            if not parameter.stop_gradient:
                self._arrays[f"gradients/{run.step}/{path}"] = parameter.grad.numpy()

    @hookimpl
    def on_step_end(self, run):
        self._note("weights", run)

    @hookimpl
    def on_evaluation_start(self, run):
        self._note("evaluated", run)

    @hookimpl
    def on_run_end(self, run):
        np.savez(run.folder / "trace.npz", **self._arrays)

    def _note(self, kind, run):
        for path, parameter in run.model.named_parameters():
            self._arrays[f"{kind}/{run.step}/{path}"] = parameter.numpy()


@component
class Thaw:
    """The first parameter is frozen until an epoch begins.

    Args:
        epoch: the epoch.
    """

    epoch: int = 3

    @hookimpl
    def on_run_start(self, run):
        self.on_epoch_start(run)

    @hookimpl
    def on_epoch_start(self, run):
        run.model.parameters()[0].stop_gradient = run.epoch < self.epoch


@component
class Groups:
    """A parameter group for each parameter.

    Args:
        rates: the multipliers of the learning rate.
        decay: the weight decay of each group; by default they have none of their own.
    """

    rates: list[float] = field(default_factory=lambda: [1.0])
    decay: Optional[float] = None

    @hookimpl
    def build_parameter_groups(self, model):
        parameters = [parameter for parameter in model.parameters() if not parameter.stop_gradient]
        rates = [self.rates[number % len(self.rates)] for number in range(len(parameters))]
        own = {} if self.decay is None else {"weight_decay": self.decay}
        return [
            {"params": [parameter], "learning_rate": rate, **own}
            for parameter, rate in zip(parameters, rates, strict=True)
        ]


@hookimpl
def register_components(register):
    register("data/toy", ToyData)
    register("task/scripted", Scripted)
    register("callback/trace", Trace)
    register("callback/thaw", Thaw)
    register("callback/groups", Groups)
