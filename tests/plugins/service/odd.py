"""Models and tasks that train, some of which cannot be exported; installed as a plugin of somebody else."""

from __future__ import annotations

import math

from oarlock import Arrays, Data, InputSpec, component, hookimpl


@component
class Plain:
    """Rows of three numbers in two classes, or with a number to predict.

    Args:
        classes: whether the targets are classes.
    """

    classes: bool = True

    @hookimpl
    def build_data(self):
        import numpy as np

        inputs = np.random.default_rng(0).normal(size=(60, 3)).astype("float32")
        sums = inputs.sum(axis=1)
        if self.classes:
            return Data(Arrays(inputs, (sums > 0).astype("int64")), Arrays(inputs, (sums > 0).astype("int64")),
                        class_names=["down, or level", "up"])  # fmt: skip
        return Data(Arrays(inputs, sums[:, None]), output_shape=(1,))


@component
class Odd:
    """A linear model that does something odd when it is not training.

    Args:
        how: what.
    """

    how: str = "plainly"

    @hookimpl
    def build_model(self, spec):
        import paddle
        from paddle import nn

        class Model(nn.Layer):
            def __init__(self, how):
                super().__init__()
                self.how, self.linear = how, nn.Linear(3, spec.num_outputs)

            def forward(self, inputs):
                output = self.linear(inputs)
                if self.training or self.how == "plainly":
                    return output
                if self.how == "branch":
                    if output.sum() > -1e9:
                        output = output * 2
                    return output
                if self.how == "mode":
                    return output if paddle.in_dynamic_mode() else output * 1.5
                if self.how == "python":
                    return output * (2 if math.exp(float(output.max())) > 0 else 1)
                if self.how == "unknown":
                    return paddle.digamma(output)
                if self.how == "nan":
                    return output / (output - output)
                return output - output.mean(axis=0)

        return Model(self.how)


@component
class Peeking:
    """Least squares with a forward that looks at the targets."""

    @hookimpl
    def forward(self, model, batch):
        return model(batch.inputs) + 0 * batch.targets

    @hookimpl
    def compute_loss(self, output, batch):
        return (output - batch.targets).square().mean()


@component
class Steps:
    """Rows of six steps with a number to predict for each; any number of steps will do."""

    @hookimpl
    def build_data(self):
        import numpy as np

        inputs = np.random.default_rng(0).normal(size=(40, 6, 4)).astype("float32")
        return Data(Arrays(inputs, inputs.sum(-1)), inputs=InputSpec((-1, 4)), output_shape=(6,))


@component
class EachStep:
    """A linear model of each step.

    Args:
        how: `any` number of steps, `six` of them and no other, or `frozen` at six once it is a program.
    """

    how: str = "any"

    @hookimpl
    def build_model(self, spec):
        import paddle
        from paddle import nn

        class Model(nn.Layer):
            def __init__(self, how):
                super().__init__()
                self.how, self.linear, self.whole = how, nn.Linear(4, 1), nn.Linear(24, 6)

            def forward(self, inputs):
                if self.how == "six":
                    return self.whole(inputs.flatten(1))
                if self.how == "frozen" and not paddle.in_dynamic_mode():
                    inputs = inputs[:, :6]
                return self.linear(inputs).flatten(1)

        return Model(self.how)


@hookimpl
def register_components(register):
    register("data/plain", Plain)
    register("data/steps", Steps)
    register("model/odd", Odd)
    register("model/each_step", EachStep)
    register("task/peeking", Peeking)
