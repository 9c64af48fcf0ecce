"""Data with two inputs as a Dataset with a transform, streams, and the model and the task that go with them."""

from __future__ import annotations

import numpy as np

from oarlock import Data, InputSpec, component, hookimpl

INPUTS = {"left": InputSpec((3,)), "right": InputSpec((2,))}


def rows(count):
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(count, 3)), rng.normal(size=(count, 2))
    target = left.sum(1) - 2 * right.sum(1)
    return left.astype("float32"), right.astype("float32"), target.astype("float32")


def sample(columns, index):
    left, right, target = columns
    return {"left": left[index], "right": right[index]}, target[index]


def jitter(pair, rng):
    inputs, target = pair
    return {**inputs, "left": inputs["left"] + rng.normal(scale=0.01, size=3).astype("float32")}, target


def pairs(count):
    from paddle.io import Dataset

    class Pairs(Dataset):
        columns = rows(count)

        def __len__(self):
            return count

        def __getitem__(self, index):
            return sample(self.columns, index)

    return Pairs()


@component
class Pairs:
    """Rows with a left and a right part; the target is left minus twice right.

    Args:
        count: rows to train on.
    """

    count: int = 320

    @hookimpl
    def build_data(self):
        return Data(pairs(self.count), pairs(100), inputs=INPUTS, output_shape=(), transform=jitter)


class Stream:
    """Rows without a length, replayed and skipped on resume."""

    def __iter__(self):
        columns = rows(320)
        return iter([sample(columns, index) for index in range(320)])


class StatefulStream:
    """Rows without a length that knows where it stands."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        columns = rows(320)
        while self.at < 320:
            self.at += 1
            yield sample(columns, self.at - 1)
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


@component
class Streamed:
    """The same rows without a length.

    Args:
        stateful: whether the stream carries its state.
    """

    stateful: bool = False

    @hookimpl
    def build_data(self):
        train = StatefulStream() if self.stateful else Stream()
        return Data(train, pairs(100), inputs=INPUTS, output_shape=(), transform=jitter)


@component
class TwoTowers:
    """One linear tower for each input, summed."""

    width: int = 8

    @hookimpl
    def build_model(self, spec):
        from paddle import nn

        class Towers(nn.Layer):
            def __init__(self, width):
                super().__init__()
                self.towers = nn.LayerDict(
                    {
                        name: nn.Sequential(nn.Linear(part.shape[0], width), nn.Tanh(), nn.Dropout(0.1),
                                            nn.Linear(width, spec.num_outputs))
                        for name, part in spec.inputs.items()
                    }
                )  # fmt: skip

            def forward(self, left, right):
                return (self.towers["left"](left) + self.towers["right"](right)).squeeze(-1)

        return Towers(self.width)


class Bias:
    """The mean of output minus target."""

    direction = "min"

    def reset(self):
        self.differences = []

    def update(self, output, batch):
        self.differences.append((output - batch.targets).abs().mean())

    def accumulate(self):
        return float(sum(self.differences) / len(self.differences))


@component
class Matching:
    """Absolute error between a model of two inputs and a number."""

    @hookimpl
    def forward(self, model, batch):
        return model(batch.inputs["left"], batch.inputs["right"])

    @hookimpl
    def compute_loss(self, output, batch):
        return (output - batch.targets).abs().mean()

    @hookimpl
    def build_metrics(self):
        return {"distance": Bias()}


@hookimpl
def register_components(register):
    register("data/pairs", Pairs)
    register("data/streamed", Streamed)
    register("model/two_towers", TwoTowers)
    register("task/matching", Matching)
