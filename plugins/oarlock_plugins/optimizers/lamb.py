"""LAMB, for large batches."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.optimizers.decoupled import claimed, decaying
from oarlock_plugins.ranges import within


@component
class Lamb:
    """LAMB (You et al. 2020): Adam's step with decay, scaled for each tensor to the norm of its weights.

    r = m / (sqrt(v) + epsilon) + c w; w <- w - lr |w| / |r| r. Biases and the scales of norms neither decay nor are
    scaled, and without a decay nothing is.

    Args:
        learning_rate: step size.
        beta1: decay of the first moment m.
        beta2: decay of the second moment v.
        epsilon: added to the root of the second moment.
        weight_decay: the coefficient c.
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    weight_decay: float = 0.01

    def __post_init__(self):
        within(0, math.inf, learning_rate=self.learning_rate, epsilon=self.epsilon, weight_decay=self.weight_decay)
        within(0, 1, beta1=self.beta1, beta2=self.beta2)

    @hookimpl
    def prepare_parameters(self, model):
        return claimed(model, self.weight_decay)

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import Lamb as PaddleLamb

        names = decaying(parameters)
        return PaddleLamb(
            schedule(self.learning_rate), self.weight_decay, self.beta1, self.beta2, self.epsilon,
            [_with_its_decay(one) for one in parameters],
            exclude_from_weight_decay_fn=lambda parameter: parameter.name not in names,
        )  # fmt: skip


def _with_its_decay(group):
    """A parameter group whose own weight_decay takes the place of the optimizer's; Paddle would add it to the gradient."""
    if not isinstance(group, dict) or "weight_decay" not in group:
        return group
    others = {name: value for name, value in group.items() if name != "weight_decay"}
    return {**others, "lamb_weight_decay": group["weight_decay"]}
