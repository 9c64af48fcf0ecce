"""ConvMixer in Paddle, after the implementation that the paper shows."""

from __future__ import annotations

from paddle import nn


class AddChannel(nn.Layer):
    """[rows, height, width] -> [rows, 1, height, width]; images that have channels stay as they are."""

    def forward(self, images):
        return images.unsqueeze(1) if images.ndim == 3 else images


class Residual(nn.Layer):
    """x + f(x)."""

    def __init__(self, *layers):
        super().__init__()
        self.function = nn.Sequential(*layers)

    def forward(self, inputs):
        return inputs + self.function(inputs)


def conv_mixer(shape, outputs, dim, depth, patch_size, kernel_size):
    """For images of `shape`, [channels, height, width]; returns logits."""
    channels, _, _ = shape

    def activated(convolution):
        return convolution, nn.GELU(), nn.BatchNorm2D(dim)

    def mixer():
        depthwise = nn.Conv2D(dim, dim, kernel_size, groups=dim, padding="same")
        return Residual(*activated(depthwise)), *activated(nn.Conv2D(dim, dim, 1))

    return nn.Sequential(
        AddChannel(),
        *activated(nn.Conv2D(channels, dim, patch_size, stride=patch_size)),
        *(layer for _ in range(depth) for layer in mixer()),
        nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(dim, outputs),
    )  # fmt: skip
