"""The two networks and their loss."""

from __future__ import annotations

import math

import paddle
from paddle import nn
from paddle.nn import functional


class Gan(nn.Layer):
    """Both networks as one layer, so that one checkpoint holds them; called on noise, it gives images."""

    def __init__(self, noise, hidden, shape):
        super().__init__()
        self.noise = noise
        self.generator = nn.Sequential(
            nn.Linear(noise, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, math.prod(shape)), nn.Sigmoid(), nn.Unflatten(1, list(shape)),
        )  # fmt: skip
        self.discriminator = nn.Sequential(
            nn.Flatten(), nn.Linear(math.prod(shape), hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1),
        )  # fmt: skip

    def forward(self, noise):
        return self.generator(noise)


def cross_entropy(logits, value):
    """Binary cross-entropy, where all rows have the same target."""
    return functional.binary_cross_entropy_with_logits(logits, paddle.full_like(logits, value))
