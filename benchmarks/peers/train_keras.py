"""Keras on JAX, with `fit`, an accuracy metric and an evaluation after each epoch.

- keras: as it comes.
- keras-tuned: `steps_per_execution`, so that Python is left for 16 steps at a time.

Keras has no drop_last: it trains on the first rows that make whole batches. Images are channels-last, which is what its
JAX backend is made for.
"""

from __future__ import annotations

import os
import sys

os.environ["KERAS_BACKEND"] = "jax"

import keras
import spec as specs
import turns
from keras import layers

TOKENS = 28


class Position(layers.Layer):
    """Adds a learned vector for each token."""

    def build(self, shape):
        self.position = self.add_weight(shape=(1, *shape[1:]), initializer="glorot_uniform", name="position")

    def call(self, tokens):
        return tokens + self.position


def transformer(depth, width, heads, hidden):
    inputs = keras.Input((TOKENS, TOKENS))
    tokens = Position()(layers.Dense(width)(inputs))
    for _ in range(depth):
        attended = layers.MultiHeadAttention(heads, width // heads)(tokens, tokens)
        tokens = layers.LayerNormalization(epsilon=1e-5)(tokens + attended)
        dense = layers.Dense(width)(layers.Dense(hidden, "relu")(tokens))
        tokens = layers.LayerNormalization(epsilon=1e-5)(tokens + dense)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(tokens)))


def build(network):
    options = dict(network)
    kind = options.pop("kind")
    norm = {"momentum": 0.9, "epsilon": 1e-5}
    if kind == "transformer":
        return transformer(**options)
    if kind == "lenet":
        return keras.Sequential([
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same"), layers.BatchNormalization(**norm), layers.ReLU(), layers.MaxPool2D(2),
            layers.Conv2D(16, 5), layers.BatchNormalization(**norm), layers.ReLU(), layers.MaxPool2D(2),
            layers.Flatten(), layers.Dense(120, "relu"), layers.Dense(84, "relu"), layers.Dense(10),
        ])  # fmt: skip
    size, *hidden, outputs = options["sizes"]
    dense = [one for width in hidden for one in (layers.Dense(width, "relu"), layers.BatchNormalization(**norm))]
    return keras.Sequential([keras.Input((size,)), *dense, layers.Dense(outputs)])


class TakeTurns(keras.callbacks.Callback):
    def __init__(self, turn):
        super().__init__()
        self.turn = turn

    def on_epoch_end(self, epoch, logs=None):
        # Keras evaluates before it.
        if self.turn.epoch_ended(logs["val_accuracy"]):
            self.model.stop_training = True


def main(variant, spec):
    turn, arrays = turns.turn(), specs.load(spec)
    keras.utils.set_random_seed(0)
    shaped = {"lenet": lambda rows: rows.reshape(-1, 28, 28, 1), "transformer": lambda rows: rows.reshape(-1, 28, 28)}
    shape = shaped.get(spec.network["kind"], lambda rows: rows)
    rows = len(arrays["train_inputs"]) // spec.batch_size * spec.batch_size
    model = build(spec.network)
    optimizer = keras.optimizers.Adam(1e-3) if spec.optimizer == "adam" else keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(
        optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"],
        steps_per_execution=16 if variant == "keras-tuned" else 1,
    )  # fmt: skip
    model.fit(
        shape(arrays["train_inputs"][:rows]), arrays["train_targets"][:rows], spec.batch_size, epochs=1_000_000,
        verbose=0, callbacks=[TakeTurns(turn)], validation_batch_size=specs.EVALUATION_BATCH,
        validation_data=(shape(arrays["valid_inputs"]), arrays["valid_targets"]),
    )  # fmt: skip
    turn.training_ended()


if __name__ == "__main__":
    main(sys.argv[1], specs.read(sys.argv[2]))
