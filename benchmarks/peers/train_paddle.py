"""Paddle by hand, and `paddle.Model.fit`.

- handwritten: the loop that a careful user writes. The rows are scaled, flat where the network wants them flat, and
  resident on the device; the shuffled epoch is gathered once and sliced; the loss is never read between evaluations.
- tuned: the same loop in a process whose MKL and malloc are set up as oarlock sets up its own.
- fit: `paddle.Model.fit` with an accuracy metric, without its bar, and with an evaluation after each epoch, as its guides call
  it: there is one batch size for both.
- fit-large: the same with evaluations in large batches, as all others have them. Once such a batch was freed, malloc keeps the
  memory of smaller tensors; before, it gives a gradient of megabytes back to the system on each step.
- fit-tuned: that in a process set up as the tuned loop's.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import spec as specs
import turns


def train_loop(spec, arrays, turn):
    import paddle
    import paddle_networks
    from paddle.nn.functional import cross_entropy

    paddle.seed(0)
    # Taken out, so that the memory of the arrays is given back.
    inputs, targets, valid_inputs, valid_targets = (
        paddle.to_tensor(arrays.pop(f"{part}_{what}")) for part in ("train", "valid") for what in ("inputs", "targets")
    )
    model = paddle_networks.build(spec.network)
    optimizer = paddle_networks.optimizer(spec.optimizer, model)
    rows, size, epoch, over = len(inputs), spec.batch_size, 0, False
    while not over:
        order = paddle.to_tensor(np.random.default_rng(epoch).permutation(rows))
        epoch_inputs, epoch_targets = paddle.gather(inputs, order), paddle.gather(targets, order)
        model.train()
        for start in range(0, rows - size + 1, size):
            loss = cross_entropy(model(epoch_inputs[start : start + size]), epoch_targets[start : start + size])
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
        model.eval()
        losses, correct = [], []
        with paddle.no_grad():
            for start in range(0, len(valid_inputs), specs.EVALUATION_BATCH):
                output = model(valid_inputs[start : start + specs.EVALUATION_BATCH])
                labels = valid_targets[start : start + specs.EVALUATION_BATCH]
                losses.append(cross_entropy(output, labels, reduction="sum"))
                correct.append((output.argmax(axis=-1) == labels).sum())
        loss = paddle.add_n(losses).item() / len(valid_inputs)
        accuracy = paddle.add_n(correct).item() / len(valid_inputs)
        epoch += 1
        print(f"epoch {epoch} loss {loss:.4f} accuracy {accuracy:.4f}", flush=True)
        over = turn.epoch_ended(accuracy)
    turn.training_ended()


def train_fit(spec, arrays, turn, evaluation_batch):
    import paddle
    import paddle_networks

    class Rows(paddle.io.Dataset):
        def __init__(self, part):
            super().__init__()
            self.inputs, self.targets = arrays[f"{part}_inputs"], arrays[f"{part}_targets"]

        def __len__(self):
            return len(self.inputs)

        def __getitem__(self, index):
            return self.inputs[index], self.targets[index]

    class TakeTurns(paddle.callbacks.Callback):
        def on_eval_end(self, logs=None):
            if turn.epoch_ended(logs["acc"]):
                self.model.stop_training = True

    paddle.seed(0)
    layer = paddle_networks.build(spec.network)
    model = paddle.Model(layer)
    optimizer = paddle_networks.optimizer(spec.optimizer, layer)
    model.prepare(optimizer, paddle.nn.CrossEntropyLoss(), paddle.metric.Accuracy())
    model.fit(
        Rows("train"), paddle.io.DataLoader(Rows("valid"), batch_size=evaluation_batch), epochs=1_000_000,
        verbose=0, batch_size=spec.batch_size, drop_last=True, shuffle=True, callbacks=[TakeTurns()],
    )  # fmt: skip
    turn.training_ended()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    variant, told = sys.argv[1], specs.read(sys.argv[2])
    if variant in ("tuned", "fit-tuned"):
        from oarlock.runtime import setup_runtime

        setup_runtime(True)
    if variant.startswith("fit"):
        evaluation_batch = told.batch_size if variant == "fit" else specs.EVALUATION_BATCH
        train_fit(told, specs.load(told), turns.turn(), evaluation_batch)
    else:
        train_loop(told, specs.load(told), turns.turn())
