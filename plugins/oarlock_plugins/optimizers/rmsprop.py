"""RMSProp."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.ranges import within


@component
class RmsProp:
    """RMSProp (Tieleman & Hinton 2012): s <- rho s + (1 - rho) g^2; v <- m v + lr g / sqrt(s + epsilon); w <- w - v.

    Args:
        learning_rate: step size.
        rho: decay of the mean square s of the gradient.
        momentum: decay m of the velocity v.
        centered: divide by the gradient's standard deviation, s less the square of its mean (Graves 2013).
        epsilon: added to s under the root.
    """

    learning_rate: float = 1e-3
    rho: float = 0.95
    momentum: float = 0.0
    centered: bool = False
    epsilon: float = 1e-6

    def __post_init__(self):
        within(0, math.inf, learning_rate=self.learning_rate, epsilon=self.epsilon)
        within(0, 1, rho=self.rho, momentum=self.momentum)

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import RMSProp

        return RMSProp(schedule(self.learning_rate), self.rho, self.epsilon, self.momentum, self.centered, parameters)
