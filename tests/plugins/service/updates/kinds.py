"""Data, a model and a task of other kinds than those that an update was made for; installed as somebody else's plugin."""

from __future__ import annotations

from oarlock import Arrays, Data, InputSpec, component, hookimpl

NAMED = {
    "named": lambda rows: {"x": rows},
    "several": lambda rows: {"z": rows[:, :1], "a": rows[:, 1:]},
    "merged": lambda rows: {"first": rows[:, :1], "rest": rows[:, 1:]},
}

TARGETS = {
    "bare": lambda targets: targets,
    "column": lambda targets: targets[:, None],
    "bytes": lambda targets: targets.astype("uint8"),
    "values": lambda targets: targets.astype("float32"),
    "counts": lambda targets: targets,
    "named": lambda targets: {"up": targets, "down": 1 - targets},
}


def rows(count, seed):
    import numpy as np

    inputs = np.random.default_rng(seed).normal(size=(count, 3)).astype("float32")
    return inputs, (inputs.sum(axis=1) > 0).astype("int64")


@component
class Kinds:
    """Rows of three numbers in two classes.

    Args:
        targets: `bare`, a `column` of them, in few `bytes`, `values` of one axis, `counts` or `named`.
        inputs: `bare`, `named`, `several`, `parted` by the preprocessing, or `merged` by it, or of `any` number.
        streamed: whether the rows come without a length.
    """

    targets: str = "bare"
    inputs: str = "bare"
    streamed: bool = False

    @hookimpl
    def build_data(self):
        return Data(*(self._part(count, seed) for seed, count in enumerate((80, 40, 40))),
                    class_names=None if self.targets in ("values", "counts") else ["down", "up"], output_shape=(),
                    inputs=InputSpec((-1 if self.inputs == "any" else 3,)) if self.inputs == "any" or self.streamed else None,
                    preprocess={"parted": parted, "merged": merged}.get(self.inputs, lambda: None)())  # fmt: skip

    def _part(self, count, seed):
        inputs, targets = rows(count, seed)
        part = Arrays(NAMED.get(self.inputs, lambda rows: rows)(inputs), TARGETS[self.targets](targets))
        return Stream(part) if self.streamed else part


class Stream:
    def __init__(self, rows):
        self._rows = rows

    def __iter__(self):
        return (self._rows[row] for row in range(len(self._rows)))


def parted():
    from paddle import nn

    class Parted(nn.Layer):
        def forward(self, inputs):
            return {"first": inputs[:, :1], "rest": inputs[:, 1:]}

    return Parted()


def merged():
    import paddle
    from paddle import nn

    class Merged(nn.Layer):
        def forward(self, inputs):
            return paddle.concat([inputs["first"], inputs["rest"]], axis=1)

    return Merged()


@component
class Linear:
    """A linear model of three numbers, however they come."""

    @hookimpl
    def build_model(self, spec):
        import paddle
        from paddle import nn

        free = not isinstance(spec.inputs, dict) and spec.input_shape == (-1,)

        class Model(nn.Layer):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(3, spec.num_outputs)

            def forward(self, inputs):
                if isinstance(inputs, dict):
                    inputs = paddle.concat(list(inputs.values()), axis=1)
                if free:
                    inputs = paddle.stack([inputs.mean(axis=1), inputs.max(axis=1), inputs.min(axis=1)], axis=1)
                return self.linear(inputs)

        return Model()


@component
class Squares:
    """Least squares of the last output."""

    @hookimpl
    def compute_loss(self, output, batch):
        targets = batch.targets["up"] if isinstance(batch.targets, dict) else batch.targets
        return (output[:, -1] - targets.flatten().astype("float32")).square().mean()

    @hookimpl
    def compute_predictions(self, output):
        return {"output": output[:, -1]}


@hookimpl
def register_components(register):
    register("data/kinds", Kinds)
    register("model/kinds", Linear)
    register("task/kinds", Squares)
