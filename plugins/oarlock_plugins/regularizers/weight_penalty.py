"""Penalties on the weights, coupled to the gradient by Paddle's own regularizers, which act after every clip."""

from __future__ import annotations

import math

from oarlock import component, decays, hookimpl
from oarlock_plugins.ranges import within


def _regularize(model, coefficient, regularizer):
    parameters = [parameter for parameter in model.parameters() if decays(parameter)] if coefficient else []
    for parameter in parameters:
        parameter.regularizer = regularizer(coefficient)
    return parameters


@component
class L1:
    """L1 penalty: coefficient * sign(w) is added to the gradient, for weights but not for biases and norms' scales.

    The gradient is that of coefficient * sum |w|; it is added after clipping, and `train/loss` does not show it.

    Args:
        coefficient: the regularisation coefficient, lambda.
    """

    coefficient: float = 1e-5

    def __post_init__(self):
        within(0, math.inf, coefficient=self.coefficient)

    @hookimpl
    def prepare_parameters(self, model):
        from paddle.regularizer import L1Decay

        return _regularize(model, self.coefficient, L1Decay)


@component
class L2:
    """L2 penalty: coefficient * w is added to the gradient, for weights but not for biases and norms' scales.

    The gradient is that of coefficient / 2 * sum w^2; it is added after clipping, and `train/loss` does not show it.

    Args:
        coefficient: the regularisation coefficient, lambda.
    """

    coefficient: float = 1e-4

    def __post_init__(self):
        within(0, math.inf, coefficient=self.coefficient)

    @hookimpl
    def prepare_parameters(self, model):
        from paddle.regularizer import L2Decay

        return _regularize(model, self.coefficient, L2Decay)
