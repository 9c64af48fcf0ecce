"""The arithmetic of Lion, as a Paddle optimizer."""

from __future__ import annotations

import paddle

from oarlock import decays


class LionOptimizer(paddle.optimizer.Optimizer):
    """Algorithm 2 of Chen et al. 2023: w <- w - lr (sign(b1 m + (1 - b1) g) + c w); m <- b2 m + (1 - b2) g.

    Args:
        learning_rate: a number or a scheduler.
        beta1: b1.
        beta2: b2.
        weight_decay: c, for the parameters that decay.
        parameters: parameters, or parameter groups.
    """

    def __init__(self, learning_rate, beta1, beta2, weight_decay, parameters):
        # Not Paddle's own weight_decay, which would be added to the gradient.
        super().__init__(learning_rate=learning_rate, parameters=parameters)
        self._beta1, self._beta2, self._weight_decay = beta1, beta2, weight_decay

    def _create_accumulators(self, block, parameters):
        for parameter in parameters["params"] if isinstance(parameters, dict) else parameters:
            self._add_accumulator("momentum", parameter)

    def _append_optimize_op(self, block, pair):
        # Paddle wraps the pair in a dict where there are parameter groups.
        parameter, gradient = pair = pair["params"] if isinstance(pair, dict) else pair
        momentum = self._get_accumulator("momentum", parameter)
        direction = paddle.sign(self._beta1 * momentum + (1 - self._beta1) * gradient)
        if decays(parameter):
            direction = direction + self._weight_decay * parameter
        paddle.assign(parameter - self._create_param_lr(pair) * direction, parameter)
        paddle.assign(self._beta2 * momentum + (1 - self._beta2) * gradient, momentum)
