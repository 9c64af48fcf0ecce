"""The convolutional network of LeCun et al."""

from __future__ import annotations

from oarlock import component, hookimpl
from oarlock_plugins.models.inputs import require_images
from oarlock_plugins.ranges import within


@component
class LeNet:
    """LeNet-5 (LeCun et al. 1998) with ReLU, max pooling and batch normalisation.

    For images [channels, height, width] of at least 12 x 12; the first convolution pads by 2, so that images of
    28 x 28 give the paper's sizes.

    Args:
        batch_norm: normalise after each convolution.
        dropout: share of the units before the last layer that are zeroed in training.
    """

    batch_norm: bool = True
    dropout: float = 0.0

    def __post_init__(self):
        within(0, 1, dropout=self.dropout)

    @hookimpl
    def build_model(self, spec):
        from paddle import nn

        channels, height, width = require_images(spec, "lenet", 12)

        def block(inputs, outputs, padding):
            norm = [nn.BatchNorm2D(outputs)] if self.batch_norm else []
            return [nn.Conv2D(inputs, outputs, 5, padding=padding), *norm, nn.ReLU(), nn.MaxPool2D(2, 2)]

        flat = 16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
        dropout = [nn.Dropout(self.dropout)] if self.dropout else []
        return nn.Sequential(
            *block(channels, 6, 2), *block(6, 16, 0), nn.Flatten(),
            nn.Linear(flat, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), *dropout,
            nn.Linear(84, spec.num_outputs),
        )  # fmt: skip
