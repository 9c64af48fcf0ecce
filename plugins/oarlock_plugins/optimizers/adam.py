"""Adam."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.ranges import within


@component
class Adam:
    """Adam (Kingma & Ba 2015): steps scaled by the moments of the gradient.

    Args:
        learning_rate: step size.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        epsilon: added to the root of the second moment.
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self):
        within(0, math.inf, learning_rate=self.learning_rate, epsilon=self.epsilon)
        within(0, 1, beta1=self.beta1, beta2=self.beta2)

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import Adam as PaddleAdam

        return PaddleAdam(schedule(self.learning_rate), self.beta1, self.beta2, self.epsilon, parameters=parameters)
