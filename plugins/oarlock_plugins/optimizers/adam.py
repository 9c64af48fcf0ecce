"""Adam."""

from __future__ import annotations

from oarlock import component, hookimpl


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

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import Adam as PaddleAdam

        return PaddleAdam(schedule(self.learning_rate), self.beta1, self.beta2, self.epsilon, parameters=parameters)
