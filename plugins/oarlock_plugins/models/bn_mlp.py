"""A multi-layer perceptron with batch normalisation after the activation."""

from __future__ import annotations

import math
from dataclasses import field

from oarlock import component, hookimpl
from oarlock_plugins.models.inputs import require_floats
from oarlock_plugins.ranges import within


@component
class BnMlp:
    """Multi-layer perceptron: (Linear, ReLU, BatchNorm, dropout) for each width, then Linear to the outputs.

    BatchNorm: Ioffe & Szegedy 2015; the scale starts at 1 and the shift at 0. Inputs of any shape are flattened.

    Args:
        widths: hidden units of each layer.
        epsilon: added to the variance in BatchNorm.
        momentum: how much of BatchNorm's running statistics a step keeps.
        dropout: share of hidden units that are zeroed in training.
    """

    widths: list[int] = field(default_factory=lambda: [512])
    epsilon: float = 1e-5
    momentum: float = 0.9
    dropout: float = 0.0

    def __post_init__(self):
        within(0, math.inf, epsilon=self.epsilon)
        within(0, 1, momentum=self.momentum, dropout=self.dropout)
        if any(width < 1 for width in self.widths):
            raise ValueError(f"widths={self.widths}: expected positive numbers")

    @hookimpl
    def build_model(self, spec):
        from paddle import nn

        require_floats(spec, "bn_mlp")
        layers = [nn.Flatten()] if len(spec.input_shape) > 1 else []
        size = math.prod(spec.input_shape)
        for width in self.widths:
            layers += [nn.Linear(size, width), nn.ReLU()]
            layers.append(nn.BatchNorm1D(width, momentum=self.momentum, epsilon=self.epsilon))
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            size = width
        return nn.Sequential(*layers, nn.Linear(size, spec.num_outputs))
