"""Components that each do one thing wrong; test_broken.py says which check must notice it."""

import os
from dataclasses import dataclass, field
from typing import Optional

import numpy as np

from oarlock import Arrays, Data, component, hookimpl

# --- what registration refuses


@component
class Mistyped:
    """A hook's name with a slip."""

    @hookimpl
    def on_evaluation_ends(self, run):
        pass


@component
class Unmarked:
    """A hook without its mark."""

    def on_step_end(self, run):
        pass


@dataclass
class Undecorated:
    """No component."""


@component
class Unserialisable:
    """A field of a type that no configuration has."""

    generator: Optional[np.random.Generator] = None


@component
class OneWay:
    """State that cannot come back."""

    def state_dict(self):
        return {}


@component
class WrongArgument:
    """An argument that the hook does not give."""

    @hookimpl
    def on_step_end(self, trainer):
        pass


# --- what every kind must do


@component
class Undocumented:
    """One field is not explained.

    Args:
        known: is explained.
    """

    known: int = 1
    unknown: int = 2


@component
class Wordless:
    @hookimpl
    def on_run_start(self, run):
        pass


@component
class RefusesItself:
    """A default that its own check refuses.

    Args:
        rate: a share.
    """

    rate: float = 2.0

    def __post_init__(self):
        if self.rate > 1:
            raise ValueError(f"rate={self.rate}: expected at most 1")


@component
class Leaks:
    """Leaves a mark in the environment at each build."""

    @hookimpl
    def prepare_parameters(self, model):
        os.environ["BROKEN_BUILDS"] = str(int(os.environ.get("BROKEN_BUILDS", "0")) + 1)


@component
class Doubles:
    """Changes the default type for all that comes after."""

    @hookimpl
    def prepare_parameters(self, model):
        import paddle

        other = {"float32": "float64", "float64": "float32"}
        paddle.set_default_dtype(other[paddle.get_default_dtype()])


@component
class Freezes:
    """No weight moves."""

    learning_rate: float = 0.0

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import SGD

        return SGD(schedule(0.0), parameters=parameters)


@component
class Forgets:
    """Counts its steps and does not remember them."""

    changes_run = True

    def __post_init__(self):
        self._count = 0

    @hookimpl
    def on_step_end(self, run):
        self._count += 1
        if self._count % 10 == 0:
            parameter = run.model.parameters()[0]
            parameter.set_value(parameter * 0.9)


@component
class OwnDice:
    """Draws from a generator that nobody seeds."""

    changes_run = True

    def __post_init__(self):
        self._rng = np.random.default_rng()

    @hookimpl
    def on_step_end(self, run):
        parameter = run.model.parameters()[0]
        parameter.set_value(parameter * float(self._rng.uniform(0.9, 1)))


@component
class Remembers:
    """Keeps something in its class from run to run."""

    changes_run = True
    seen = []

    @hookimpl
    def on_run_start(self, run):
        self.seen.append(run)
        parameter = run.model.parameters()[0]
        parameter.set_value(parameter / len(self.seen))


@component
class KnowsItsProcess:
    """Depends on the process that it runs in."""

    @hookimpl
    def compute_penalty(self, model):
        return model.parameters()[0].square().sum() * (os.getpid() % 10007 + 1) * 1e-7


@component
class OddState:
    """State that JSON does not have."""

    def state_dict(self):
        return {"when": object()}

    def load_state_dict(self, state):
        pass


@component
class LosesState:
    """State that does not come back."""

    def __post_init__(self):
        self._steps = 0

    @hookimpl
    def on_step_end(self, run):
        self._steps += 1

    def state_dict(self):
        return {"steps": self._steps}

    def load_state_dict(self, state):
        pass


@component
class NeedsANumber:
    """Cannot take a schedule that Paddle steps.

    Args:
        learning_rate: step size.
    """

    learning_rate: float = 0.1

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import SGD

        rate = schedule(self.learning_rate)
        if not isinstance(rate, float):
            raise TypeError("a float is needed")
        return SGD(rate, parameters=parameters)


@component
class Branches:
    """A Python `if` on a tensor's value."""

    @hookimpl
    def compute_penalty(self, model):
        size = model.parameters()[0].abs().sum()
        return size * 0.1 if size > 1 else size * 0.2


@component
class Counts:
    """A Python counter, which a static program freezes."""

    def __post_init__(self):
        self._calls = 0

    @hookimpl
    def compute_penalty(self, model):
        self._calls += 1
        return model.parameters()[0].square().sum() * self._calls


# --- optimizers


@component
class Ascends:
    """The wrong sign.

    Args:
        learning_rate: step size.
    """

    learning_rate: float = 0.1

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import SGD

        class Uphill(SGD):
            def step(self):
                for parameter in self._parameter_list:
                    if parameter.grad is not None:
                        parameter.grad = -parameter.grad
                super().step()

        return Uphill(schedule(self.learning_rate), parameters=parameters)


@component
class OwnRate:
    """Does not ask the schedule.

    Args:
        learning_rate: step size.
    """

    learning_rate: float = 0.1

    @hookimpl
    def build_optimizer(self, parameters):
        from paddle.optimizer import SGD

        return SGD(self.learning_rate, parameters=parameters)


@component
class Partial:
    """Leaves the last parameter alone.

    Args:
        learning_rate: step size.
    """

    learning_rate: float = 0.1

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import SGD

        return SGD(schedule(self.learning_rate), parameters=parameters[:-1])


# --- the other kinds


@component
class Flat:
    """A model whose output has an axis too many."""

    @hookimpl
    def build_model(self, spec):
        from paddle import nn

        return nn.Sequential(nn.Flatten(), nn.Linear(64, spec.num_outputs), nn.Unflatten(1, [spec.num_outputs, 1]))


@component
class Detached:
    """A penalty whose gradient is half of what it should be."""

    @hookimpl
    def compute_penalty(self, model):
        weight = model.parameters()[0]
        return (weight * weight.detach()).sum()


@component
class Halves:
    """A clip that clips what is clipped."""

    @hookimpl
    def build_grad_clip(self):
        return lambda pairs: [(parameter, gradient * 0.5) for parameter, gradient in pairs]


@component
class Meddles:
    """A callback that changes weights and does not say so."""

    @hookimpl
    def on_evaluation_start(self, run):
        parameter = run.model.parameters()[0]
        parameter.set_value(parameter * 0.99)


def rows(rng, mistake=0.0):
    inputs = rng.normal(size=(300, 4)).astype("float32")
    inputs[0, 0] = inputs[0, 0] + mistake
    targets = rng.integers(0, 2, 300)
    return Data(train=Arrays(inputs[:200], targets[:200]), valid=Arrays(inputs[200:], targets[200:]),
                class_names=["a", "b"])  # fmt: skip


@component
class Drifts:
    """Rows that depend on the run's seed."""

    @hookimpl
    def build_data(self):
        return rows(np.random.default_rng(np.random.randint(1000)))


@component
class Holes:
    """A row that is not a number."""

    @hookimpl
    def build_data(self):
        data = rows(np.random.default_rng(0))
        data.train.inputs[:, 0] = np.nan
        return data


class MeanOfMeans:
    """Averages over batches, whatever their size."""

    direction = "max"

    def reset(self):
        self.values = []

    def update(self, output, batch):
        self.values.append(float((output.argmax(axis=-1) == batch.targets).astype("float32").mean()))

    def accumulate(self):
        return sum(self.values) / len(self.values)


@component
class Sums:
    """A loss that is a sum."""

    @hookimpl
    def compute_loss(self, output, batch):
        from paddle.nn.functional import cross_entropy

        return cross_entropy(output, batch.targets, reduction="sum")


@component
class Means:
    """A metric that is a mean of means.

    Args:
        metrics: which ones.
    """

    metrics: dict[str, int] = field(default_factory=lambda: {"accuracy": 1})

    @hookimpl
    def compute_loss(self, output, batch):
        from paddle.nn.functional import cross_entropy

        return cross_entropy(output, batch.targets)

    @hookimpl
    def build_metrics(self, data):
        return {name: MeanOfMeans() for name in self.metrics}


@component
class Negative:
    """A rate below zero."""

    @hookimpl
    def build_schedule(self, learning_rate):
        from paddle.optimizer.lr import LambdaDecay

        return LambdaDecay(learning_rate, lambda step: 1 - step / 20)


@component
class Stubborn:
    """A rate of its own."""

    @hookimpl
    def build_schedule(self, learning_rate):
        return 0.01


@component
class Endless:
    """Divides by a length that may not be known."""

    @hookimpl
    def build_schedule(self, learning_rate, total_steps):
        return learning_rate / total_steps


GROUPS = {
    "callback": [Mistyped, Unmarked, Undecorated, Unserialisable, OneWay, WrongArgument, Undocumented, Wordless,
                 RefusesItself, Leaks, Doubles, Forgets, OwnDice, Remembers, OddState, LosesState, Meddles],
    "regularizer": [KnowsItsProcess, Branches, Counts, Detached, Halves],
    "optimizer": [Freezes, NeedsANumber, Ascends, OwnRate, Partial],
    "model": [Flat],
    "data": [Drifts, Holes],
    "task": [Sums, Means],
    "schedule": [Negative, Stubborn, Endless],
}  # fmt: skip


@hookimpl
def register_components(register):
    for group, classes in GROUPS.items():
        for cls in classes:
            register(f"{group}/{cls.__name__.lower()}", cls)
