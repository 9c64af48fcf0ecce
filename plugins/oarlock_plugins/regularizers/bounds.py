"""What the clips have in common: their bounds, and which gradients they take."""

from __future__ import annotations

import math


def check_bounds(max_norm, min_norm):
    """Refuse bounds that are not positive, or that contradict each other.

    Raises:
        ValueError: it names the bound and what is expected.
    """
    if not 0 < max_norm < math.inf:
        raise ValueError(f"max_norm={max_norm}: expected a positive number")
    if min_norm is not None and not 0 < min_norm <= max_norm:
        raise ValueError(f"min_norm={min_norm}: expected 0 < min_norm <= max_norm={max_norm}")


def needs_clip(parameter):
    """False of a parameter that was made with need_clip=False, which Paddle's own clips leave alone too."""
    return getattr(parameter, "need_clip", True)


def clipped(change):
    """A clip that changes each gradient by itself.

    Args:
        change: from one gradient to another.
    """
    return lambda pairs: [
        (parameter, change(gradient) if needs_clip(parameter) else gradient) for parameter, gradient in pairs
    ]


def scaled(gradient, norm, least, most):
    """A gradient times the factor that takes a norm into [least, most]; 1 where the norm is zero."""
    import paddle

    factor = paddle.where(norm > 0, norm.clip(least, most) / norm, paddle.ones_like(norm))
    return gradient * factor.astype(gradient.dtype)
