"""Bounds on each number of a gradient."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.regularizers.bounds import clipped
from oarlock_plugins.sparse import refuse_sparse


@component
class ClipValue:
    """Cut each number of each gradient back to [-max_value, max_value].

    A gradient that is infinite becomes NaN, so that the run's watch over its weights finds it; Paddle's ClipGradByValue
    makes an ordinary number of it.

    Args:
        max_value: the bound.
    """

    max_value: float = 1.0

    def __post_init__(self):
        if not 0 < self.max_value < math.inf:
            raise ValueError(f"max_value={self.max_value}: expected a positive number")

    @hookimpl
    def prepare_parameters(self, model):
        refuse_sparse(model, "regularizer=clip_value")

    @hookimpl
    def build_grad_clip(self):
        # Infinity less infinity is NaN, and any other number less itself is nothing.
        return clipped(lambda gradient: gradient.clip(-self.max_value, self.max_value) + (gradient - gradient))
