"""From data to batches on the device, in an order that is a function of (seed, epoch) alone."""

from __future__ import annotations

import contextlib
import ctypes
import math
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from oarlock.data import Arrays, Batch, Data, Rows, Tree, each
from oarlock.device import device_memory
from oarlock.errors import UserError
from oarlock.kept import Kept

if TYPE_CHECKING:
    from oarlock.schema import TrainerConfig


# How much of an epoch is gathered at once.
STRETCH_BYTES = 4 << 20


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


class Feeder(Protocol):
    """Gives the micro-batches of each optimizer step of an epoch, from any step on."""

    steps_per_epoch: int | None
    smallest_batch: int | None

    @property
    def draws(self) -> bool:
        """Whether making a batch may take from Paddle's random generator."""

    def epoch(self, epoch: int, start: int) -> Iterator[list[Batch]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def build_feeder(data: Data, trainer: TrainerConfig, seed: int, kept: Kept | None = None) -> Feeder:
    """The feeder that fits the training data.

    Args:
        data: the data.
        trainer: batch size and the like.
        seed: the run's.
        kept: what is kept between the runs of a process.
    """
    if not hasattr(data.train, "__len__") or not hasattr(data.train, "__getitem__"):
        return StreamFeeder(data, trainer, seed)
    if isinstance(data.train, Arrays) and data.transform is None:
        return ArraysFeeder(data, trainer, seed, kept or Kept())
    return LoaderFeeder(data, trainer, seed)


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


class LoaderFeeder:
    """Any dataset with a length, in the same order as arrays would come; in processes of Paddle's loader if asked."""

    draws = True

    def __init__(self, data: Data, trainer: TrainerConfig, seed: int) -> None:
        self._data, self._seed, self._workers = data, seed, trainer.num_workers
        self._steps = plan_steps(len(data.train), trainer.batch_size, trainer.accumulate_steps, trainer.drop_last)
        self.steps_per_epoch: int | None = len(self._steps)
        self.smallest_batch: int | None = smallest(self._steps)

    def epoch(self, epoch: int, start: int) -> Iterator[list[Batch]]:
        order = epoch_order(self._seed, epoch, len(self._data.train))
        steps = self._steps[start:]
        number = sum(len(step) for step in self._steps[:start])
        samples = _Samples(self._data, self._seed, epoch)
        batches = _load(samples, [order[part].tolist() for step in steps for part in step], self._data, self._workers)
        for step in steps:
            group = []
            for batch in islice(batches, len(step)):
                group.append(transformed(self._data, batch, self._seed, epoch, number))
                number += 1
            yield group

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: the order is a function of seed and epoch."""


class StreamFeeder:
    """Data without length: one pass is an epoch; it carries its own state, or is replayed and skipped."""

    draws = True
    steps_per_epoch: int | None = None
    smallest_batch: int | None = None

    def __init__(self, data: Data, trainer: TrainerConfig, seed: int) -> None:
        self._data, self._trainer, self._seed = data, trainer, seed
        self._stateful = hasattr(data.train, "state_dict") and hasattr(data.train, "load_state_dict")
        self._restored = False

    def epoch(self, epoch: int, start: int) -> Iterator[list[Batch]]:
        trainer = self._trainer
        samples = iter(self._data.train)
        needed = trainer.batch_size * trainer.accumulate_steps
        number = start * trainer.accumulate_steps
        if start and not self._restored:
            for _ in islice(samples, start * needed):
                pass
        self._restored = False
        index = start * needed
        while rows := list(islice(samples, needed)):
            if len(rows) < needed and trainer.drop_last:
                return
            if self._data.transform is not None:
                rows = [
                    self._data.transform(row, sample_rng(self._seed, epoch, index + offset))
                    for offset, row in enumerate(rows)
                ]
            index += len(rows)
            group = []
            for first in range(0, len(rows), trainer.batch_size):
                batch = as_batch(_collate(self._data)(rows[first : first + trainer.batch_size]))
                group.append(transformed(self._data, batch, self._seed, epoch, number))
                number += 1
            yield group

    def state_dict(self) -> dict[str, Any]:
        return dict(self._data.train.state_dict()) if self._stateful else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._stateful:
            self._data.train.load_state_dict(state)
            self._restored = True


def evaluation_batches(data: Data, part: Any, batch_size: int) -> Iterator[Batch]:
    """The rows of a split in their own order, in batches as the model takes them."""
    if isinstance(part, Arrays):
        for start in range(0, len(part), batch_size):
            yield data.prepared(_tensors(Batch(*part[start : start + batch_size])))
    elif hasattr(part, "__len__") and hasattr(part, "__getitem__"):
        rows = [list(range(start, min(start + batch_size, len(part)))) for start in range(0, len(part), batch_size)]
        for batch in _load(part, rows, data, 0):
            yield data.prepared(batch)
    else:
        samples = iter(part)
        while chunk := list(islice(samples, batch_size)):
            yield data.prepared(as_batch(_collate(data)(chunk)))


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
        return _tensors(Batch(arrays.inputs, arrays.targets))
    with paddle.no_grad():
        parts = [
            data.prepared(_tensors(Batch(*arrays[start : start + rows_at_once])))
            for start in range(0, len(arrays), rows_at_once)
        ]
    return Batch(*(_concat([getattr(part, name) for part in parts]) for name in ("inputs", "targets")))


def transformed(data: Data, batch: Batch, seed: int, epoch: int, number: int) -> Batch:
    """A training batch after `transform_batch` and `preprocess`."""
    if data.transform_batch is not None:
        batch = data.transform_batch(batch, sample_rng(seed, epoch, number))
    return data.prepared(batch)


def as_batch(collated: Any) -> Batch:
    """What a collate function returned: a Batch, `(inputs, targets)`, or a dict with these keys.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(collated, Batch):
        return collated
    if isinstance(collated, (tuple, list)) and len(collated) == 2:
        return Batch(*collated)
    if isinstance(collated, Mapping) and "inputs" in collated:
        return Batch(collated["inputs"], collated.get("targets"))
    raise UserError(
        f"A sample must be (inputs, targets) or {{'inputs': …, 'targets': …}}; a batch came as {type(collated).__name__}."
    )


class _Samples:
    """The samples of an epoch: each drawn and transformed with generators that depend on its index alone."""

    def __init__(self, data: Data, seed: int, epoch: int) -> None:
        self._dataset, self._transform = data.train, data.transform
        self._seed, self._epoch = seed, epoch

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        rng = sample_rng(self._seed, self._epoch, index)
        # A dataset may draw from the global generators; in what order and process must not matter.
        np.random.seed(int(rng.integers(2**32)))
        random.seed(int(rng.integers(2**63)))
        sample = self._dataset[index]
        return (
            sample if self._transform is None else self._transform(sample, sample_rng(self._seed, self._epoch, index))
        )


def _load(dataset: Any, rows: list[list[int]], data: Data, workers: int) -> Iterator[Batch]:
    if workers and rows:
        yield from _load_in_processes(dataset, rows, data, workers)
        return
    # Not through DataLoader: its reading thread runs ahead of the run's state, and hangs when a sample raises.
    collate = _collate(data)
    for part in rows:
        with _global_generators_kept():
            batch = as_batch(collate([dataset[row] for row in part]))
        yield batch


def _load_in_processes(dataset: Any, rows: list[list[int]], data: Data, workers: int) -> Iterator[Batch]:
    import paddle

    class Rows(paddle.io.BatchSampler):  # type: ignore[misc]
        def __init__(self) -> None:
            """The rows are given; the base class would want a dataset."""

        def __iter__(self) -> Iterator[list[int]]:
            return iter(rows)

        def __len__(self) -> int:
            return len(rows)

    loader = paddle.io.DataLoader(
        dataset,
        batch_sampler=Rows(),
        collate_fn=data.collate,
        num_workers=workers,
        return_list=True,
        worker_init_fn=_end_with_parent,
    )
    with _global_generators_kept():
        batches = iter(loader)
    for collated in batches:
        yield as_batch(collated)


@contextlib.contextmanager
def _global_generators_kept() -> Iterator[None]:
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _end_with_parent(worker: int) -> None:
    """A loader process has no run to save: it ends on a signal, and with the process that it loads for."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _collate(data: Data) -> Callable[[list[Any]], Any]:
    if data.collate is not None:
        return data.collate
    from paddle.io.dataloader.collate import default_collate_fn

    def collate(samples: list[Any]) -> Any:
        if isinstance(samples[0], (tuple, list)) and len(samples[0]) == 2 and samples[0][1] is None:
            return _tensors(Batch(default_collate_fn([sample[0] for sample in samples])))
        return _tensors(as_batch(default_collate_fn(samples)))

    return collate


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch, index])


def _tensors(batch: Batch) -> Batch:
    import paddle

    return Batch(each(batch.inputs, paddle.to_tensor), each(batch.targets, paddle.to_tensor))


def _concat(trees: list[Tree]) -> Tree:
    import paddle

    if trees[0] is None:
        return None
    if isinstance(trees[0], Mapping):
        return {key: _concat([tree[key] for tree in trees]) for key in trees[0]}
    return paddle.concat(trees)
