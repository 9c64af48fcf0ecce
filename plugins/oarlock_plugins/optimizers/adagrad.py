"""Adagrad."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.ranges import within


@component
class Adagrad:
    """Adagrad (Duchi et al. 2011): s <- s + g^2; w <- w - lr g / (sqrt(s) + epsilon).

    Args:
        learning_rate: step size.
        epsilon: added to the root of the sum s.
        initial_accumulator_value: the sum s at the beginning.
    """

    learning_rate: float = 0.01
    epsilon: float = 1e-6
    initial_accumulator_value: float = 0.0

    def __post_init__(self):
        within(0, math.inf, learning_rate=self.learning_rate, epsilon=self.epsilon,
               initial_accumulator_value=self.initial_accumulator_value)  # fmt: skip

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import Adagrad as PaddleAdagrad

        return PaddleAdagrad(schedule(self.learning_rate), self.epsilon, parameters,
                             initial_accumulator_value=self.initial_accumulator_value)  # fmt: skip
