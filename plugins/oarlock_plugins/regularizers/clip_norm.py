"""Bounds on the norm of each gradient."""

from __future__ import annotations

from typing import Optional

from oarlock import component, hookimpl
from oarlock_plugins.regularizers.bounds import check_bounds, clipped, scaled
from oarlock_plugins.sparse import refuse_sparse


@component
class ClipNorm:
    """Scale each parameter's gradient so that its own L2 norm lies within bounds.

    A norm above `max_norm` is cut back to it; one below `min_norm`, where that is given, is scaled up to it.
    A gradient of exactly zero stays zero.

    Args:
        max_norm: the upper bound.
        min_norm: the lower bound, or null for none.
    """

    max_norm: float = 1.0
    min_norm: Optional[float] = None

    def __post_init__(self):
        check_bounds(self.max_norm, self.min_norm)

    @hookimpl
    def prepare_parameters(self, model):
        if self.min_norm is not None:
            refuse_sparse(model, "regularizer=clip_norm with min_norm")

    @hookimpl
    def build_grad_clip(self):
        if self.min_norm is None:
            from paddle.nn import ClipGradByNorm

            return ClipGradByNorm(self.max_norm)
        return clipped(self._within_bounds)

    def _within_bounds(self, gradient):
        return scaled(gradient, gradient.astype("float32").square().sum().sqrt(), self.min_norm, self.max_norm)
