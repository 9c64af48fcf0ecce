"""The block of a residual network; apart from its model, since it imports Paddle."""

from __future__ import annotations

from paddle import nn


def normalised(inputs, outputs, size, stride=1):
    """A convolution without bias, and BatchNorm; weights as in He et al. 2015."""
    weights = nn.initializer.KaimingNormal(fan_in=size * size * inputs)
    convolution = nn.Conv2D(inputs, outputs, size, stride, size // 2, weight_attr=weights, bias_attr=False)
    return [convolution, nn.BatchNorm2D(outputs)]


class Residual(nn.Layer):
    """ReLU(two convolutions of x, plus x), from [rows, inputs, h, w] to [rows, outputs, h / stride, w / stride]."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.residual = nn.Sequential(
            *normalised(inputs, outputs, 3, stride), nn.ReLU(), *normalised(outputs, outputs, 3)
        )  # fmt: skip
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*normalised(inputs, outputs, 1, stride))

    def forward(self, images):
        return nn.functional.relu(self.residual(images) + self.shortcut(images))
