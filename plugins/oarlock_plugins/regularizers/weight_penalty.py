"""Penalties on the weights, coupled to the gradient by Paddle's own regularizers."""

from __future__ import annotations

from oarlock import component, decays, hookimpl


def _regularize(model, coefficient, regularizer):
    parameters = [parameter for parameter in model.parameters() if decays(parameter)] if coefficient else []
    for parameter in parameters:
        parameter.regularizer = regularizer(coefficient)
    return parameters


@component
class L1:
    """L1 penalty: coefficient * sum |w| is added to the loss, for weights but not for biases and norms' scales.

    Args:
        coefficient: the regularisation coefficient, lambda.
    """

    coefficient: float = 1e-5

    @hookimpl
    def prepare_parameters(self, model):
        from paddle.regularizer import L1Decay

        return _regularize(model, self.coefficient, L1Decay)


@component
class L2:
    """L2 penalty: coefficient / 2 * sum w^2 is added to the loss, for weights but not for biases and norms' scales.

    Args:
        coefficient: the regularisation coefficient, lambda.
    """

    coefficient: float = 1e-4

    @hookimpl
    def prepare_parameters(self, model):
        from paddle.regularizer import L2Decay

        return _regularize(model, self.coefficient, L2Decay)
