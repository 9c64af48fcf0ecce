"""The networks in Paddle; what `model=bn_mlp` and `model=lenet` of oarlock build, and the transformer for both sides."""

from __future__ import annotations

from itertools import pairwise

import paddle
from paddle import nn


class Transformer(nn.Layer):
    """A transformer encoder (Vaswani et al. 2017) that classifies an image whose rows are its tokens.

    Args:
        depth: encoder layers, post-norm, without dropout.
        width: size of a token's embedding.
        heads: attention heads.
        hidden: units between the two linear layers of an encoder layer.
        tokens: rows of an image, and values in a row.
        outputs: classes.
    """

    def __init__(self, depth, width, heads, hidden, tokens=(28, 28), outputs=10):
        super().__init__()
        self.tokens = tokens
        self.embedding = nn.Linear(tokens[1], width)
        # Glorot's limit for a matrix; by default Paddle and torch take the axes of a larger tensor otherwise than Keras.
        limit = (6 / (tokens[0] + width)) ** 0.5
        start = nn.initializer.Uniform(-limit, limit)
        self.position = self.create_parameter([1, tokens[0], width], default_initializer=start)
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout=0.0, activation="relu")
        self.encoder = nn.TransformerEncoder(layer, depth)
        self.output = nn.Linear(width, outputs)

    def forward(self, inputs):
        tokens = self.embedding(inputs.reshape([-1, *self.tokens])) + self.position
        return self.output(self.encoder(tokens).mean(axis=1))


def build(network):
    """The network of a spec."""
    options = dict(network)
    kind = options.pop("kind")
    if kind == "transformer":
        return Transformer(**options)
    if kind == "lenet":
        return nn.Sequential(
            nn.Conv2D(1, 6, 5, padding=2), nn.BatchNorm2D(6), nn.ReLU(), nn.MaxPool2D(2, 2),
            nn.Conv2D(6, 16, 5), nn.BatchNorm2D(16), nn.ReLU(), nn.MaxPool2D(2, 2), nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )  # fmt: skip
    *hidden, (last, outputs) = pairwise(options["sizes"])
    layers = []
    for size, width in hidden:
        layers += [nn.Linear(size, width), nn.ReLU(), nn.BatchNorm1D(width)]
    return nn.Sequential(*layers, nn.Linear(last, outputs))


def optimizer(name, model):
    """The optimizer of a spec, as Paddle's users build it."""
    if name == "adam":
        return paddle.optimizer.Adam(1e-3, parameters=model.parameters())
    return paddle.optimizer.Momentum(0.01, 0.9, parameters=model.parameters())
