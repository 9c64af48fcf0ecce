"""Models and tasks that train, some of which cannot be exported; installed as a plugin of somebody else."""

from __future__ import annotations

import math

from oarlock import Arrays, Data, component, hookimpl


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


@hookimpl
def register_components(register):
    register("data/plain", Plain)
    register("model/odd", Odd)
    register("task/peeking", Peeking)
