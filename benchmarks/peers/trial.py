"""A trial as it is written by hand: five epochs of *small* in Paddle, for a learning rate and a seed.

python trial.py ARRAYS LEARNING_RATE SEED WIDTH
"""

from __future__ import annotations

import sys
import warnings

import numpy as np

EPOCHS, BATCH = 5, 32


def train(arrays: str, learning_rate: float, seed: int, width: int = 128) -> float:
    """Train, with an evaluation after each epoch; returns the last accuracy."""
    warnings.simplefilter("ignore")
    import paddle
    from paddle import nn
    from paddle.nn.functional import cross_entropy

    paddle.seed(seed)
    inputs, targets, valid_inputs, valid_targets = (
        paddle.to_tensor(np.load(f"{arrays}/{part}_{what}.npy"))
        for part in ("train", "valid") for what in ("inputs", "targets")
    )  # fmt: skip
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.BatchNorm1D(width), nn.Linear(width, 10))
    optimizer = paddle.optimizer.Momentum(learning_rate, 0.9, parameters=model.parameters())
    accuracy = 0.0
    for epoch in range(EPOCHS):
        order = paddle.to_tensor(np.random.default_rng([seed, epoch]).permutation(len(inputs)))
        epoch_inputs, epoch_targets = paddle.gather(inputs, order), paddle.gather(targets, order)
        model.train()
        for start in range(0, len(inputs) - BATCH + 1, BATCH):
            loss = cross_entropy(model(epoch_inputs[start : start + BATCH]), epoch_targets[start : start + BATCH])
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
        model.eval()
        with paddle.no_grad():
            accuracy = (model(valid_inputs).argmax(axis=-1) == valid_targets).astype("float32").mean().item()
    return accuracy


if __name__ == "__main__":
    print(f"accuracy {train(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])):.4f}")
