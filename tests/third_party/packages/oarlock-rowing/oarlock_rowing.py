"""An optimizer with layer-wise rates, a schedule, regularizers, callbacks, and a group of its own with its own hook."""

from __future__ import annotations

import math
import os
import signal
from enum import Enum
from types import SimpleNamespace

from oarlock import component, hookimpl, hookspec


class Sign(Enum):
    """Which way."""

    down = -1
    up = 1


@component
class LayerWise:
    """SGD whose rate falls from the last layer to the first.

    Args:
        learning_rate: step size of the last layer.
        decay: factor from a parameter to the one before it.
        sign: down or up the gradient.
    """

    learning_rate: float = 0.1
    decay: float = 0.5
    sign: Sign = Sign.down

    @hookimpl
    def build_parameter_groups(self, model):
        parameters = [parameter for parameter in model.parameters() if not parameter.stop_gradient]
        last = len(parameters) - 1
        return [{"params": [p], "learning_rate": self.decay ** (last - n)} for n, p in enumerate(parameters)]

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import Momentum

        return Momentum(schedule(-self.sign.value * self.learning_rate), 0.5, parameters=parameters)


@component
class Shell:
    """Residual blocks of one width behind a linear layer.

    Args:
        width: units of a block.
        blocks: how many.
    """

    width: int = 8
    blocks: int = 1

    @hookimpl
    def build_model(self, spec):
        from paddle import nn

        class Block(nn.Layer):
            def __init__(self, width):
                super().__init__()
                self.inner = nn.Linear(width, width)

            def forward(self, x):
                return x + nn.functional.relu(self.inner(x))

        blocks = [Block(self.width) for _ in range(self.blocks)]
        return nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(spec.input_shape), self.width), *blocks,
            nn.Linear(self.width, spec.num_outputs),
        )  # fmt: skip


@component
class Halving:
    """Halve the rate every so many steps."""

    every: int = 10

    @hookimpl
    def build_schedule(self, learning_rate):
        from paddle.optimizer.lr import LambdaDecay

        return LambdaDecay(learning_rate, lambda step: 0.5 ** (step // self.every))


@component
class Outputs:
    """A penalty on the mean of the last bias."""

    weight: float = 1.0

    @hookimpl
    def compute_penalty(self, model):
        return self.weight * model.parameters()[-1].square().mean()


@component
class Zero:
    """A clip that removes every gradient."""

    @hookimpl
    def build_grad_clip(self):
        return lambda pairs: [(parameter, gradient * 0) for parameter, gradient in pairs]


class _Says:
    def _say(self, run, what):
        with open("said.txt", "a") as file:
            file.write(f"{type(self).__name__} {what} {run.step}\n")


@component
class First(_Says):
    """Writes down its moments."""

    @hookimpl
    def on_step_end(self, run):
        self._say(run, "step")

    @hookimpl
    def on_checkpoint(self, run, path):
        self._say(run, f"checkpoint {path.name}")

    @hookimpl
    def on_run_end(self, run):
        self._say(run, "end")


@component
class Second(_Says):
    """Writes down its moments, too."""

    @hookimpl
    def on_step_end(self, run):
        self._say(run, "step")

    @hookimpl
    def after_backward(self, run):
        assert all(p.grad is not None for p in run.model.parameters() if not p.stop_gradient)
        self._say(run, "gradients")


@component
class Memory:
    """Sums the weights over all steps, and kills the process at a step when the environment says so."""

    @hookimpl
    def on_step_end(self, run):
        self._sum = getattr(self, "_sum", 0) + run.model.parameters()[0].detach()
        self._steps = getattr(self, "_steps", 0) + 1
        if os.environ.get("KILL_AT") == str(run.step):
            os.kill(os.getpid(), signal.SIGKILL)

    def state_dict(self):
        return {"sum": self._sum, "steps": self._steps}

    def load_state_dict(self, state):
        self._sum, self._steps = state["sum"], state["steps"]


class Augmenting:
    """The hooks of the group `augmentation`."""

    @hookspec
    def augment(self, batch, rng):
        """Change a batch in place."""


@component
class Shift:
    """Add a number to every input.

    Args:
        by: the number.
    """

    by: float = 1.0

    @hookimpl
    def augment(self, batch, rng):
        batch.inputs = batch.inputs + self.by


@component
class Flip:
    """Turn the sign of every input."""

    @hookimpl
    def augment(self, batch, rng):
        batch.inputs = -batch.inputs


@component
class Apply:
    """Runs the augmentations on the training batches, through the run's own hooks."""

    @hookimpl
    def on_run_start(self, run):
        def transform_batch(batch, rng):
            run.hook.augment(batch=batch, rng=rng)
            with open("augmented.txt", "a") as file:
                file.write(f"{float(batch.inputs.max()):.3f}\n")
            return batch

        run.data.transform_batch = transform_batch


@hookimpl
def register_hookspecs(register):
    register(Augmenting)


@hookimpl
def register_components(register):
    register("model/shell", Shell)
    register("optimizer/layer_wise", LayerWise)
    register("schedule/halving", Halving)
    register("regularizer/outputs", Outputs)
    register("regularizer/zero", Zero)
    register("callback/first", First)
    register("callback/second", Second)
    register("callback/memory", Memory)
    register("callback/apply", Apply)
    register("augmentation/shift", Shift, many=True)
    register("augmentation/flip", Flip, many=True)


@hookimpl
def register_commands(register):
    def configure(parser):
        parser.add_argument("name")

    def run(arguments: SimpleNamespace) -> int:
        print(f"ready all, {arguments.name}")
        return 0

    register("row", help="Say a word.", configure=configure, run=run)
