"""torch by hand, eager and compiled, and Lightning.

- torch: the loop of train_paddle.py in torch, with `SGD` or `Adam` as they come.
- torch-tuned: the same with the fused optimizer, and gradients set to None.
- torch-compile: `torch.compile` of network and loss beside the fused optimizer.
- lightning: `Trainer` without bar, logger, summary and checkpoints, on a `DataLoader` of a `TensorDataset`. As installed
  it would log and save besides, so that it is given the benefit of the doubt.
- lightning-tuned: the same with the fused optimizer, on slices of the gathered epoch in place of a `DataLoader`.

torch's own MKL no longer knows the variable that oarlock sets for Paddle's, so there is nothing like it to tune.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from itertools import pairwise

import numpy as np
import spec as specs
import torch
import turns
from torch import nn
from torch.nn.functional import cross_entropy


class Transformer(nn.Module):
    """The transformer of paddle_networks.py."""

    def __init__(self, depth, width, heads, hidden, tokens=(28, 28), outputs=10):
        super().__init__()
        self.tokens = tokens
        self.embedding = nn.Linear(tokens[1], width)
        limit = (6 / (tokens[0] + width)) ** 0.5
        self.position = nn.Parameter(torch.empty(1, tokens[0], width).uniform_(-limit, limit))
        layer = nn.TransformerEncoderLayer(width, heads, hidden, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth)
        self.output = nn.Linear(width, outputs)

    def forward(self, inputs):
        tokens = self.embedding(inputs.reshape(-1, *self.tokens)) + self.position
        return self.output(self.encoder(tokens).mean(1))


def build(network):
    options = dict(network)
    kind = options.pop("kind")
    if kind == "transformer":
        return Transformer(**options)
    if kind == "lenet":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2, 2),
            nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )  # fmt: skip
    *hidden, (last, outputs) = pairwise(options["sizes"])
    layers = []
    for size, width in hidden:
        layers += [nn.Linear(size, width), nn.ReLU(), nn.BatchNorm1d(width)]
    return nn.Sequential(*layers, nn.Linear(last, outputs))


def optimizer_for(name, model, fused):
    options = {"fused": True} if fused else {}
    if name == "adam":
        return torch.optim.Adam(model.parameters(), 1e-3, **options)
    return torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, **options)


def evaluate(model, inputs, targets):
    """Loss and accuracy of the validation rows."""
    model.eval()
    losses, correct = [], []
    with torch.no_grad():
        for start in range(0, len(inputs), specs.EVALUATION_BATCH):
            part = slice(start, start + specs.EVALUATION_BATCH)
            output, labels = model(inputs[part]), targets[part]
            losses.append(cross_entropy(output, labels, reduction="sum"))
            correct.append((output.argmax(-1) == labels).sum())
    return torch.stack(losses).sum().item() / len(inputs), torch.stack(correct).sum().item() / len(inputs)


def train_loop(spec, tensors, turn, variant):
    inputs, targets, valid_inputs, valid_targets = tensors
    model = build(spec.network)
    optimizer = optimizer_for(spec.optimizer, model, variant != "torch")

    def compute_loss(batch, labels):
        return cross_entropy(model(batch), labels)

    if variant == "torch-compile":
        compute_loss = torch.compile(compute_loss)
    rows, size, epoch, over = len(inputs), spec.batch_size, 0, False
    while not over:
        order = torch.from_numpy(np.random.default_rng(epoch).permutation(rows))
        epoch_inputs, epoch_targets = inputs[order], targets[order]
        model.train()
        for start in range(0, rows - size + 1, size):
            loss = compute_loss(epoch_inputs[start : start + size], epoch_targets[start : start + size])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        loss, accuracy = evaluate(model, valid_inputs, valid_targets)
        epoch += 1
        print(f"epoch {epoch} loss {loss:.4f} accuracy {accuracy:.4f}", flush=True)
        over = turn.epoch_ended(accuracy)
    turn.training_ended()


def train_lightning(spec, tensors, turn, variant):
    import lightning
    from torch.utils.data import DataLoader, TensorDataset

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    inputs, targets, valid_inputs, valid_targets = tensors
    tuned, rows, size = variant == "lightning-tuned", len(inputs), spec.batch_size

    class Slices:
        """Batches of the gathered epoch."""

        def __init__(self):
            self.epoch = 0

        def __len__(self):
            return rows // size

        def __iter__(self):
            order = torch.from_numpy(np.random.default_rng(self.epoch).permutation(rows))
            self.epoch += 1
            epoch_inputs, epoch_targets = inputs[order], targets[order]
            for start in range(0, rows - size + 1, size):
                yield epoch_inputs[start : start + size], epoch_targets[start : start + size]

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = build(spec.network)

        def training_step(self, batch, index):
            return cross_entropy(self.model(batch[0]), batch[1])

        def validation_step(self, batch, index):
            output = self.model(batch[0])
            self.log("loss", cross_entropy(output, batch[1]))
            self.log("accuracy", (output.argmax(-1) == batch[1]).float().mean())

        def configure_optimizers(self):
            return optimizer_for(spec.optimizer, self.model, tuned)

        def on_train_epoch_end(self):
            # Validation comes before it in Lightning's order.
            if turn.epoch_ended(self.trainer.callback_metrics["accuracy"].item()):
                self.trainer.should_stop = True

    train = Slices() if tuned else DataLoader(TensorDataset(inputs, targets), size, shuffle=True, drop_last=True)
    valid = DataLoader(TensorDataset(valid_inputs, valid_targets), specs.EVALUATION_BATCH)
    trainer = lightning.Trainer(
        max_epochs=1_000_000, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=spec.folder,
    )  # fmt: skip
    trainer.fit(Module(), train, valid)
    turn.training_ended()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asked, told = sys.argv[1], specs.read(sys.argv[2])
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(told.folder, "inductor"))
    torch.set_num_threads(told.threads)
    torch.manual_seed(0)
    stored = specs.load(told)
    rows = [torch.from_numpy(stored[f"{part}_{what}"]) for part in ("train", "valid") for what in ("inputs", "targets")]
    (train_lightning if asked.startswith("lightning") else train_loop)(told, rows, turns.turn(), asked)
