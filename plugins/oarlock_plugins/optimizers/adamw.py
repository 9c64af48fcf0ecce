"""Adam with decoupled weight decay."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.optimizers.decoupled import claimed, decaying
from oarlock_plugins.ranges import within
from oarlock_plugins.sparse import refuse_sparse


@component
class AdamW:
    """AdamW (Loshchilov & Hutter 2019): Adam, and w <- w - lr c w apart from the gradient.

    Biases and the scales of norms do not decay.

    Args:
        learning_rate: step size.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        epsilon: added to the root of the second moment.
        weight_decay: the coefficient c.
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    def __post_init__(self):
        within(0, math.inf, learning_rate=self.learning_rate, epsilon=self.epsilon, weight_decay=self.weight_decay)
        within(0, 1, beta1=self.beta1, beta2=self.beta2)

    @hookimpl
    def prepare_parameters(self, model):
        refuse_sparse(model, "optimizer=adamw")
        return claimed(model, self.weight_decay)

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import AdamW as PaddleAdamW

        return PaddleAdamW(
            schedule(self.learning_rate), self.beta1, self.beta2, self.epsilon, parameters=parameters,
            weight_decay=self.weight_decay, apply_decay_param_fun=decaying(parameters).__contains__,
        )  # fmt: skip
