"""From the stored integers of an image to what a model takes."""

from __future__ import annotations


def scale(divisor):
    """A layer without weights: pixels of any dtype -> float32 / divisor. It is exported with the model."""
    from paddle import nn

    class Scale(nn.Layer):
        def forward(self, inputs):
            return inputs.astype("float32") * (1.0 / divisor)

    return Scale()
