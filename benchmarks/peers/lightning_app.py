"""A LightningCLI application like `oarlock train` on digits: one model, one set of data."""

from __future__ import annotations

import torch
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from torch.utils.data import DataLoader, TensorDataset


class Perceptron(LightningModule):
    """A perceptron with batch normalisation.

    Args:
        width: hidden units.
        learning_rate: step size.
    """

    def __init__(self, width: int = 128, learning_rate: float = 0.01):
        super().__init__()
        self.learning_rate = learning_rate
        self.model = torch.nn.Sequential(
            torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 10)
        )

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.learning_rate, momentum=0.9)


class Digits(LightningDataModule):
    """Random rows of the digits' shape.

    Args:
        batch_size: rows of a batch.
    """

    def __init__(self, batch_size: int = 32):
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        rows = TensorDataset(torch.rand(1078, 64), torch.randint(10, (1078,)))
        return DataLoader(rows, self.batch_size, shuffle=True, drop_last=True)


if __name__ == "__main__":
    LightningCLI(Perceptron, Digits)
