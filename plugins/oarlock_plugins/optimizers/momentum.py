"""Stochastic gradient descent with momentum."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.ranges import within


@component
class Momentum:
    """SGD with momentum: v <- m v + g; w <- w - lr v (Polyak 1964), or Nesterov's form (Sutskever et al. 2013).

    Args:
        learning_rate: step size.
        momentum: decay of the velocity.
        nesterov: look ahead: w <- w - lr (g + m v).
    """

    learning_rate: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self):
        within(0, math.inf, learning_rate=self.learning_rate)
        within(0, 1, momentum=self.momentum)

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import Momentum as PaddleMomentum

        return PaddleMomentum(
            schedule(self.learning_rate), self.momentum, parameters=parameters, use_nesterov=self.nesterov
        )
