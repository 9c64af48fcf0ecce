"""Training rows in memory: on the device, or read a stretch ahead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from oarlock.batches import concat, tensors, transformed
from oarlock.data import Arrays, Batch, Data, Rows, each
from oarlock.device import device_memory
from oarlock.epochs import epoch_order, plan_steps, smallest
from oarlock.kept import Kept

if TYPE_CHECKING:
    from oarlock.schema import TrainerConfig


# How much of an epoch is gathered at once.
STRETCH_BYTES = 4 << 20


class ArraysFeeder:
    """Arrays: a stretch of the shuffled epoch is gathered at once, and sliced.

    The rows are on the device, where they fit into the share of its memory that `trainer.resident_share` gives them.
    Otherwise, as with a memory-mapped file, each stretch is read while the one before is trained on.
    """

    def __init__(self, data: Data, trainer: TrainerConfig, seed: int, kept: Kept) -> None:
        self._data, self._seed, self._kept, self._share = data, seed, kept, trainer.resident_share
        self._resident: Batch | None = None
        self._fits = False
        self._stretches: list[Stretch] = []
        self._steps = plan_steps(len(data.train), trainer.batch_size, trainer.accumulate_steps, trainer.drop_last)
        self.steps_per_epoch: int | None = len(self._steps)
        self.smallest_batch: int | None = smallest(self._steps)

    @property
    def draws(self) -> bool:
        return self._data.transform_batch is not None

    def epoch(self, epoch: int, start: int) -> Iterator[list[Batch]]:
        order = epoch_order(self._seed, epoch, len(self._data.train))
        # Not before the first step: a callback may have set `transform_batch`, which sees rows before `preprocess`.
        if not self._stretches:
            row_bytes = self._measured()
            self._stretches = _stretches(self._steps, STRETCH_BYTES // max(row_bytes, 1))
            self._fits = row_bytes * len(order) <= self._share * device_memory()
        stretches = _from(self._stretches, start)
        if self._fits:
            batches: Iterator[Batch] = (self._gathered(order[first:last]) for first, last, _ in stretches)
        else:
            batches = _ahead(self._read, [order[first:last] for first, last, _ in stretches])
        number = sum(len(step) for step in self._steps[:start])
        for (first, _, steps), whole in zip(stretches, batches, strict=True):
            for step in steps:
                parts: list[Batch] = [Rows(whole, part.start - first, part.stop - first) for part in step]
                if self.draws:
                    parts = [transformed(self._data, Batch(part.inputs, part.targets), self._seed, epoch, number + offset)
                             for offset, part in enumerate(parts)]  # fmt: skip
                number += len(step)
                yield parts

    def _measured(self) -> int:
        """The bytes of a row as it is kept on the device."""
        data = self._data
        leaf_bytes: list[int] = []
        if self.draws or data.preprocess is None:
            each(data.train.inputs, lambda leaf: leaf_bytes.append(leaf.nbytes // len(leaf)))
        else:
            each(data.model_spec().inputs,
                 lambda spec: leaf_bytes.append(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize))  # fmt: skip
        each(data.train.targets, lambda leaf: leaf_bytes.append(leaf.nbytes // len(leaf)))
        return sum(leaf_bytes)

    def _gathered(self, rows: np.ndarray[Any, Any]) -> Batch:
        """Rows of those on the device."""
        import paddle

        if self._resident is None:
            self._resident = kept_rows(self._kept, self._data, self._data.train, prepare=not self.draws)
        index, resident = paddle.to_tensor(rows), self._resident
        with paddle.no_grad():
            return Batch(each(resident.inputs, lambda leaf: paddle.gather(leaf, index)),
                         each(resident.targets, lambda leaf: paddle.gather(leaf, index)))  # fmt: skip

    def _read(self, rows: np.ndarray[Any, Any]) -> Batch:
        """Rows from memory or from a file."""
        return resident(self._data, self._data.train.take(rows), prepare=not self.draws)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: the order is a function of seed and epoch."""


# First row, last row, and the steps in between.
Stretch = tuple[int, int, list[list[slice]]]


def _stretches(steps: list[list[slice]], rows: int) -> list[Stretch]:
    """Consecutive steps of at most so many rows together, but one at least."""
    found: list[list[list[slice]]] = []
    for step in steps:
        if found and step[-1].stop - found[-1][0][0].start <= rows:
            found[-1].append(step)
        else:
            found.append([step])
    return [(part[0][0].start, part[-1][-1].stop, part) for part in found]


def _from(stretches: list[Stretch], start: int) -> list[Stretch]:
    """The stretches without the first `start` steps, and without the rows of these."""
    found: list[Stretch] = []
    for first, last, steps in stretches:
        kept, start = steps[start:], max(start - len(steps), 0)
        if kept:
            found.append((kept[0][0].start if len(kept) < len(steps) else first, last, kept))
    return found


def _ahead(make: Callable[[Any], Batch], parts: list[Any]) -> Iterator[Batch]:
    """What `make` makes of each part, the next one in a thread of its own while this one is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(make, parts[0]) if parts else None
        for part in [*parts[1:], None]:
            assert coming is not None
            ready = coming.result()
            coming = thread.submit(make, part) if part is not None else None
            yield ready


def kept_rows(kept: Kept, data: Data, arrays: Arrays, prepare: bool) -> Batch:
    """All rows on the device, from an earlier run of this process where it had the same."""
    # What is kept holds the arrays and the layer, so that no other object can get their identity.
    key = (id(arrays), id(data.preprocess), prepare)
    rows: Batch = kept.get("rows", key, lambda: (resident(data, arrays, prepare), arrays, data.preprocess))[0]
    return rows


def resident(data: Data, arrays: Arrays, prepare: bool, rows_at_once: int = 8192) -> Batch:
    """All rows on the device; preprocessed once, since `preprocess` has no weights and works row by row."""
    import paddle

    if not prepare or data.preprocess is None:
        return tensors(Batch(arrays.inputs, arrays.targets))
    with paddle.no_grad():
        parts = [
            data.prepared(tensors(Batch(*arrays[start : start + rows_at_once])))
            for start in range(0, len(arrays), rows_at_once)
        ]
    return Batch(*(concat([getattr(part, name) for part in parts]) for name in ("inputs", "targets")))
