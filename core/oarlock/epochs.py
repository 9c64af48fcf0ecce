"""The order of an epoch's rows, and how they fall into steps."""

from __future__ import annotations

from typing import Any

import numpy as np


def epoch_order(seed: int, epoch: int, rows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The order of the rows in an epoch: a permutation that depends on nothing else."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


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
