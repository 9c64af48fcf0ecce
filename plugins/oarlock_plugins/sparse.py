"""Gradients that have only the rows of an embedding that were looked up."""

from __future__ import annotations

from oarlock import UserError


def refuse_sparse(model, choice):
    """Refuse a model with such gradients, where Paddle would fail over the first of them in words about memory.

    Raises:
        UserError: it names the layer.
    """
    from paddle.nn import Embedding

    for path, layer in model.named_sublayers(include_self=True):
        if isinstance(layer, Embedding) and getattr(layer, "_sparse", False):
            raise UserError(f"{choice} does not take the gradients of Embedding(sparse=True), as the model's layer "
                            f"{path or type(model).__name__} is.\nMake it with sparse=False, or choose another.")  # fmt: skip
