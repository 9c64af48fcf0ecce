"""Stochastic gradient descent."""

from __future__ import annotations

from oarlock import component, hookimpl


@component
class Sgd:
    """Stochastic gradient descent: w <- w - lr g (Robbins & Monro 1951).

    Args:
        learning_rate: step size.
    """

    learning_rate: float = 0.1

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import SGD

        return SGD(schedule(self.learning_rate), parameters=parameters)
