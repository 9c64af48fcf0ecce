"""Bounds on the norm of the whole gradient."""

from __future__ import annotations

from typing import Optional

from oarlock import component, hookimpl
from oarlock_plugins.regularizers.bounds import check_bounds, clipped, needs_clip, scaled
from oarlock_plugins.sparse import refuse_sparse


@component
class ClipGlobalNorm:
    """Scale all gradients by one factor so that their global L2 norm lies within bounds (Pascanu et al. 2013).

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
            refuse_sparse(model, "regularizer=clip_global_norm with min_norm")

    @hookimpl
    def build_grad_clip(self):
        if self.min_norm is None:
            from paddle.nn import ClipGradByGlobalNorm

            return ClipGradByGlobalNorm(self.max_norm)
        return self._within_bounds

    def _within_bounds(self, pairs):
        import paddle

        squares = [gradient.astype("float32").square().sum() for parameter, gradient in pairs if needs_clip(parameter)]
        if not squares:
            return pairs
        norm = paddle.add_n(squares).sqrt()
        return clipped(lambda gradient: scaled(gradient, norm, self.min_norm, self.max_norm))(pairs)
