"""The order of an epoch's rows, and how they fall into steps."""

from __future__ import annotations

from typing import Any

import numpy as np

# Rows of the epochs whose order is made at once.
MOST_AHEAD = 1 << 14


def epoch_order(seed: int, epoch: int, rows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The order of the rows in an epoch: a permutation that depends on nothing else."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


class EpochOrders:
    """The orders of a run's epochs; those of a few short epochs are made at once, which is cheaper.

    Args:
        seed: the run's.
        rows: of an epoch.
        epochs: of the run.
    """

    def __init__(self, seed: int, rows: int, epochs: int) -> None:
        self._seed, self._rows, self._epochs = seed, rows, epochs
        self._ahead = max(min(MOST_AHEAD // max(rows, 1), 16), 1)
        self._made: dict[int, np.ndarray[Any, np.dtype[np.int64]]] = {}

    def __call__(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The order of an epoch's rows."""
        if epoch not in self._made:
            last = max(min(epoch + self._ahead, self._epochs), epoch + 1)
            self._made = {number: epoch_order(self._seed, number, self._rows) for number in range(epoch, last)}
        return self._made[epoch]


def plan_steps(rows: int, batch_size: int, accumulate: int, drop_last: bool) -> list[list[slice]]:
    """The micro-batches of each optimizer step, as slices of the epoch's order."""
    batches = [slice(start, min(start + batch_size, rows)) for start in range(0, rows, batch_size)]
    if drop_last and batches and batches[-1].stop - batches[-1].start < batch_size:
        batches.pop()
    steps = [batches[start : start + accumulate] for start in range(0, len(batches), accumulate)]
    if drop_last and steps and len(steps[-1]) < accumulate:
        steps.pop()
    return steps


def smallest(steps: list[list[slice]]) -> int | None:
    """The rows of the smallest micro-batch."""
    return min((part.stop - part.start for step in steps for part in step), default=None)
