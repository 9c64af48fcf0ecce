"""Bounds on the norm of the whole gradient."""

from __future__ import annotations

from typing import Optional

from oarlock import component, hookimpl


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
        if not self.max_norm > 0:
            raise ValueError(f"max_norm={self.max_norm}: expected a positive number")
        if self.min_norm is not None and not 0 < self.min_norm <= self.max_norm:
            raise ValueError(f"min_norm={self.min_norm}: expected 0 < min_norm <= max_norm={self.max_norm}")

    @hookimpl
    def build_grad_clip(self):
        if self.min_norm is None:
            from paddle.nn import ClipGradByGlobalNorm

            return ClipGradByGlobalNorm(self.max_norm)
        return self._within_bounds

    def _within_bounds(self, pairs):
        import paddle

        # What Paddle's own clip does with a parameter that was made with need_clip=False.
        clipped = [gradient for parameter, gradient in pairs if getattr(parameter, "need_clip", True)]
        if not clipped:
            return pairs
        norm = paddle.add_n([gradient.astype("float32").square().sum() for gradient in clipped]).sqrt()
        target = norm.clip(self.min_norm, self.max_norm)
        factor = paddle.where(norm > 0, target / norm, paddle.ones_like(norm))
        return [
            (parameter, gradient * factor.astype(gradient.dtype) if getattr(parameter, "need_clip", True) else gradient)
            for parameter, gradient in pairs
        ]
