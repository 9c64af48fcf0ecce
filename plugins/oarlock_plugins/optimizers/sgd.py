"""Stochastic gradient descent."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.ranges import within


@component
class Sgd:
    """Stochastic gradient descent: w <- w - lr g (Robbins & Monro 1951).

    Args:
        learning_rate: step size.
    """

    learning_rate: float = 0.1

    def __post_init__(self):
        within(0, math.inf, learning_rate=self.learning_rate)

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import SGD

        return SGD(schedule(self.learning_rate), parameters=parameters)
