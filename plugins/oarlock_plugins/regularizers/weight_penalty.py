"""Penalties on the weights, coupled to the gradient by Paddle's own regularizers, which act after every clip."""

from __future__ import annotations

import math

from oarlock import component, decays, hookimpl
from oarlock_plugins.ranges import within


def _regularize(model, regularizer):
    """Give all that decays a regularizer of Paddle's kind; with None nothing is claimed."""
    parameters = [parameter for parameter in model.parameters() if decays(parameter)] if regularizer else []
    for parameter in parameters:
        parameter.regularizer = regularizer
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

        return _regularize(model, L1Decay(self.coefficient) if self.coefficient else None)


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

        return _regularize(model, L2Decay(self.coefficient) if self.coefficient else None)


@component
class ElasticNet:
    """Elastic net (Zou & Hastie 2005): l1 * sign(w) + l2 * w is added to the gradient, for weights alone.

    The gradient is that of l1 * sum |w| + l2 / 2 * sum w^2; it is added after clipping, and `train/loss` does not show
    it.

    Args:
        l1: the coefficient of the absolute values.
        l2: the coefficient of the squares.
    """

    l1: float = 1e-5
    l2: float = 1e-4

    def __post_init__(self):
        within(0, math.inf, l1=self.l1, l2=self.l2)

    @hookimpl
    def prepare_parameters(self, model):
        from paddle.regularizer import L1Decay, L2Decay, WeightDecayRegularizer

        class Both(WeightDecayRegularizer):
            """The sum of the two."""

            def __init__(self, *parts):
                super().__init__()
                self._parts = parts

            def __call__(self, *where):
                first, second = (part(*where) for part in self._parts)
                return first + second

        return _regularize(model, Both(L1Decay(self.l1), L2Decay(self.l2)) if self.l1 or self.l2 else None)
