"""A linear model."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.models.inputs import require_floats


@component
class Linear:
    """One linear layer: logistic regression with task=classification, linear regression with task=regression.

    Inputs of any shape are flattened.

    Args:
        bias: add a learned constant to each output.
    """

    bias: bool = True

    @hookimpl
    def build_model(self, spec):
        from paddle import nn

        require_floats(spec, "linear")
        flat = [nn.Flatten()] if len(spec.input_shape) > 1 else []
        bias = None if self.bias else False  # None is Paddle's default, False is none
        return nn.Sequential(*flat, nn.Linear(math.prod(spec.input_shape), spec.num_outputs, bias_attr=bias))
