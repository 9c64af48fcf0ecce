"""Training rows that come as samples: of a dataset, or of a stream without length."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import random
import signal
import sys
import traceback
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from oarlock.batches import as_batch, collated, on_device, sample_rng, transformed
from oarlock.data import Batch, Data
from oarlock.epochs import epoch_order, plan_steps, smallest
from oarlock.errors import InAnotherProcess, UserError
from oarlock.paddle_import import import_paddle

if TYPE_CHECKING:
    from oarlock.schema import TrainerConfig

# A loader process that was told to end by who ends all of them stays so long, for the run that is to be saved.
PATIENCE_SECONDS = 60


class LoaderFeeder:
    """Any dataset with a length, in the same order as arrays would come; in processes of Paddle's loader if asked."""

    draws = True

    def __init__(self, data: Data, trainer: TrainerConfig, seed: int) -> None:
        self._data, self._seed, self._workers = data, seed, trainer.num_workers
        self._steps = plan_steps(len(data.train), trainer.batch_size, trainer.accumulate_steps, trainer.drop_last)
        self.steps_per_epoch: int | None = len(self._steps)
        self.smallest_batch: int | None = smallest(self._steps)

    def epoch(self, epoch: int, start: int, reuse: bool = False) -> Iterator[list[Batch]]:
        order = epoch_order(self._seed, epoch, len(self._data.train))
        steps = self._steps[start:]
        number = sum(len(step) for step in self._steps[:start])
        samples = _Samples(self._data, self._seed, epoch)
        batches = load_batches(
            samples, [order[part].tolist() for step in steps for part in step], self._data, self._workers
        )
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

    def epoch(self, epoch: int, start: int, reuse: bool = False) -> Iterator[list[Batch]]:
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
                batch = on_device(collated(self._data, rows[first : first + trainer.batch_size]))
                group.append(transformed(self._data, batch, self._seed, epoch, number))
                number += 1
            yield group

    def state_dict(self) -> dict[str, Any]:
        return dict(self._data.train.state_dict()) if self._stateful else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._stateful:
            self._data.train.load_state_dict(state)
            self._restored = True


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
        _paddle_generator().manual_seed(int(rng.integers(2**63)))
        sample = self._dataset[index]
        return (
            sample if self._transform is None else self._transform(sample, sample_rng(self._seed, self._epoch, index))
        )


def load_batches(dataset: Any, rows: list[list[int]], data: Data, workers: int) -> Iterator[Batch]:
    if workers and rows:
        yield from _load_in_processes(dataset, rows, data, workers)
        return
    # Not through DataLoader: its reading thread runs ahead of the run's state, and hangs when a sample raises.
    kept = _all_generators_kept if isinstance(dataset, _Samples) else _global_generators_kept
    for part in rows:
        with kept():
            batch = on_device(collated(data, [dataset[row] for row in part]))
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

    def collate(samples: list[Any]) -> dict[str, Any]:
        try:
            raised = next((sample.error for sample in samples if isinstance(sample, _Raised)), None)
            if raised is not None:
                raise raised
            batch = collated(data, samples)  # of an object's own Paddle's loader finds no arrays
        except Exception as error:
            return {"raised": np.frombuffer(_told(error), np.uint8)}
        return {"inputs": batch.inputs} | ({} if batch.targets is None else {"targets": batch.targets})

    loader = paddle.io.DataLoader(
        _Caught(dataset),
        batch_sampler=Rows(),
        collate_fn=collate,
        num_workers=workers,
        return_list=True,
        worker_init_fn=_end_with_parent,
    )
    with _global_generators_kept():
        batches = iter(loader)
    end = batches.__del__  # Paddle holds it to the end, and would call it an error that its processes are ended then
    atexit.register(end)  # where what was raised still holds this
    try:
        for fields in batches:
            if "raised" in fields:
                raise _error_of(fields["raised"].numpy().tobytes())
            yield as_batch(fields)
    finally:
        atexit.unregister(end)
        end()


class _Raised:
    """What was raised in the place of a sample."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Caught:
    """Samples, or what they raised. Paddle's loader would print that, and fail of something else here."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self._dataset[index]
        except Exception as error:
            return _Raised(error)


def _told(error: Exception) -> bytes:
    """An error on its way to another process: what it says and where it was raised, as JSON."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    kind = "" if isinstance(error, UserError) else type(error).__name__
    return json.dumps([kind, str(error), "".join(traceback.format_exception(error)), frames]).encode()


def _error_of(told: bytes) -> Exception:
    """An error that says what that of another process says, with the same name."""
    kind, text, trace, frames = json.loads(told)
    error = type(kind, (Exception,), {})(text) if kind else UserError(text)
    error.__cause__ = InAnotherProcess(f"\n{trace}", frames)
    return error


@contextlib.contextmanager
def _global_generators_kept() -> Iterator[None]:
    """Put NumPy's and Python's global generators back as they were."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


@contextlib.contextmanager
def _all_generators_kept() -> Iterator[None]:
    """The same, and Paddle's of the CPU: the others are no sample's."""
    generator = _paddle_generator()
    state = generator.get_state()
    try:
        with _global_generators_kept():
            yield
    finally:
        generator.set_state(state)


def _paddle_generator() -> Any:
    return import_paddle().base.core.default_cpu_generator()


def _end_with_parent(worker: int) -> None:
    """A loader process has no run to save. A signal that all processes get is for the one that it loads for, with which it ends."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(PATIENCE_SECONDS))
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
