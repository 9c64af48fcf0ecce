"""Training rows in memory: on the device, or read a stretch ahead."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from oarlock.batches import concat, tensors, transformed
from oarlock.data import Arrays, Batch, Data, ModelSpec, Rows, checksums, each
from oarlock.device import device_memory, numpy_knows, numpy_sees
from oarlock.epochs import EpochOrders, plan_steps, smallest
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

    _resident: Batch | None
    _room: Room | None
    _stretches: list[Stretch]
    _fits: bool

    def __init__(
        self, data: Data, trainer: TrainerConfig, seed: int, kept: Kept, spec: ModelSpec | None = None
    ) -> None:
        self._data, self._seed, self._kept, self._share = data, seed, kept, trainer.resident_share
        self._spec = spec
        self._drew: bool | None = None  # in the last epoch
        self._orders = EpochOrders(seed, len(data.train), trainer.epochs)
        self._steps = plan_steps(len(data.train), trainer.batch_size, trainer.accumulate_steps, trainer.drop_last)
        self.steps_per_epoch: int | None = len(self._steps)
        self.smallest_batch: int | None = smallest(self._steps)

    @property
    def draws(self) -> bool:
        return self._data.transform_batch is not None

    def epoch(self, epoch: int, start: int, reuse: bool = False) -> Iterator[list[Batch]]:
        order, draws = self._orders(epoch), self.draws
        # Not before the first step: a callback may have set `transform_batch`, which sees rows before `preprocess`. It may
        # be set or gone from one epoch to the next.
        if draws is not self._drew:
            self._drew, self._resident, self._room = draws, None, None
            self.__dict__.pop("_viewed", None)
            row_bytes = self._measured()
            self._stretches = _stretches(self._steps, STRETCH_BYTES // max(row_bytes, 1))
            self._fits = row_bytes * len(order) <= self._share * device_memory()
        stretches = _from(self._stretches, start)
        parts = [order[stretch.first : stretch.last] for stretch in stretches]
        if reuse and self._fits and not draws and self._viewed:
            return chain.from_iterable(map(self._own_room().filled, stretches, parts))
        return self._made(epoch, start, stretches, parts)

    def _made(self, epoch: int, start: int, stretches: list[Stretch], parts: list[Any]) -> Iterator[list[Batch]]:
        """The steps of some stretches, whose rows these are."""
        number = sum(len(step) for step in self._steps[:start])
        wholes = map(self._gathered, parts) if self._fits else _ahead(self._read, parts)
        for stretch, whole in zip(stretches, wholes, strict=True):
            for step in stretch.steps(whole):
                if self._drew:
                    step = [transformed(self._data, Batch(part.inputs, part.targets), self._seed, epoch, number + offset)
                            for offset, part in enumerate(step)]  # fmt: skip
                number += len(step)
                yield step

    def _measured(self) -> int:
        """The bytes of a row as it is kept on the device."""
        data = self._data
        leaf_bytes: list[int] = []
        if self._drew or data.preprocess is None:
            each(data.train.inputs, lambda leaf: leaf_bytes.append(leaf.nbytes // len(leaf)))
        else:
            each((self._spec or data.model_spec()).inputs,
                 lambda spec: leaf_bytes.append(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize))  # fmt: skip
        each(data.train.targets, lambda leaf: leaf_bytes.append(leaf.nbytes // len(leaf)))
        return sum(leaf_bytes)

    def _rows(self) -> Batch:
        """All rows, on the device."""
        if self._resident is None:
            self._resident = kept_rows(self._kept, self._data, self._data.train, prepare=not self._drew)
        return self._resident

    @functools.cached_property
    def _viewed(self) -> bool:
        """Whether NumPy can gather the rows, which is several times as quick."""
        return arrays_of(self._rows()) is not None

    def _gathered(self, rows: np.ndarray[Any, Any]) -> Batch:
        """Rows of those on the device."""
        import paddle

        index, resident = paddle.to_tensor(rows), self._rows()
        with paddle.no_grad():
            return Batch(each(resident.inputs, lambda leaf: paddle.gather(leaf, index)),
                         each(resident.targets, lambda leaf: paddle.gather(leaf, index)))  # fmt: skip

    def _own_room(self) -> Room:
        """The memory for one stretch after the other, which an earlier run of this process may have had."""
        if self._room is None:
            source, stretches = self._rows(), tuple(self._stretches)
            # A room holds its source, so that no other one can get that one's identity.
            self._room = self._kept.get("room", (id(source), stretches), lambda: Room(source, stretches))
        return self._room

    def _read(self, rows: np.ndarray[Any, Any]) -> Batch:
        """Rows from memory or from a file."""
        return resident(self._data, self._data.train.take(rows), prepare=not self._drew)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: the order is a function of seed and epoch."""


# First and last row of the micro-batches of each step, counted from the first row of a stretch.
Cuts = tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True)
class Stretch:
    """Consecutive steps of an epoch, whose rows are gathered at once.

    Attributes:
        first, last: their rows, in the order of the epoch.
        cuts: the rows of each step.
    """

    first: int
    last: int
    cuts: Cuts

    def steps(self, whole: Batch) -> list[list[Batch]]:
        """The micro-batches of each step, where these are the stretch's rows."""
        return [[Rows(whole, start, stop) for start, stop in step] for step in self.cuts]


class Room:
    """Memory of the CPU for one stretch of an epoch after the other.

    Args:
        source: all rows.
        stretches: those of an epoch.
    """

    def __init__(self, source: Batch, stretches: Sequence[Stretch]) -> None:
        import paddle

        size = max(stretch.last - stretch.first for stretch in stretches)

        def empty(leaf: Any) -> Any:
            return paddle.empty([size, *leaf.shape[1:]], leaf.dtype)

        self._source = source
        self._whole = Batch(each(source.inputs, empty), each(source.targets, empty))
        self._copies = list(zip(arrays_of(source) or (), arrays_of(self._whole) or (), strict=True))
        # The same rows are always the same batch, so that whoever prepares a step on it does so once.
        self._batches: dict[tuple[int, int], Rows] = {}
        self._steps: dict[Cuts, list[list[Batch]]] = {}

    def filled(self, stretch: Stretch, rows: np.ndarray[Any, Any]) -> list[list[Batch]]:
        """Gather these rows; returns the stretch's steps."""
        for source, target in self._copies:
            # No row is out of range, and with "raise" NumPy would write to a buffer first.
            source.take(rows, 0, target[: len(rows)], "clip")
        steps = self._steps.get(stretch.cuts)
        if steps is None:
            steps = self._steps[stretch.cuts] = [[self._batch(*cut) for cut in step] for step in stretch.cuts]
        for batch in self._batches.values():
            batch.renew()
        return steps

    def _batch(self, start: int, stop: int) -> Batch:
        return self._batches.setdefault((start, stop), Rows(self._whole, start, stop))


def arrays_of(batch: Batch) -> list[np.ndarray[Any, Any]] | None:
    """NumPy's views of a batch's tensors; None where it can have none, as of a GPU's, of bfloat16, or of Paddle 2's."""
    leaves: list[Any] = []
    each(batch.inputs, leaves.append)
    each(batch.targets, leaves.append)
    if not numpy_sees("cpu") or not all(leaf.place.is_cpu_place() and numpy_knows(leaf.dtype) for leaf in leaves):
        return None
    return [np.from_dlpack(leaf) for leaf in leaves]


def _stretches(steps: list[list[slice]], rows: int) -> list[Stretch]:
    """Consecutive steps of at most so many rows together, but one at least."""
    found: list[list[list[slice]]] = []
    for step in steps:
        if found and step[-1].stop - found[-1][0][0].start <= rows:
            found[-1].append(step)
        else:
            found.append([step])
    return [_stretch(part) for part in found]


def _stretch(steps: list[list[slice]]) -> Stretch:
    first = steps[0][0].start
    cuts = tuple(tuple((part.start - first, part.stop - first) for part in step) for step in steps)
    return Stretch(first, steps[-1][-1].stop, cuts)


def _from(stretches: list[Stretch], start: int) -> list[Stretch]:
    """The stretches without the first `start` steps, and without the rows of these."""
    found: list[Stretch] = []
    for stretch in stretches:
        kept, start = stretch.cuts[start:], max(start - len(stretch.cuts), 0)
        if len(kept) == len(stretch.cuts):
            found.append(stretch)
        elif kept:
            gone = kept[0][0][0]
            cuts = tuple(tuple((first - gone, last - gone) for first, last in step) for step in kept)
            found.append(Stretch(stretch.first + gone, stretch.last, cuts))
    return found


def _ahead(make: Callable[[Any], Batch], parts: list[Any]) -> Iterator[Batch]:
    """What `make` makes of each part, the next one in a thread of its own while this one is used."""
    if not parts:  # after the last step of an epoch
        return
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(make, parts[0])
        for part in parts[1:]:
            ready, coming = coming.result(), thread.submit(make, part)
            yield ready
        yield coming.result()


def kept_rows(kept: Kept, data: Data, arrays: Arrays, prepare: bool) -> Batch:
    """All rows on the device, from an earlier run of this process where it had the same."""
    # What is kept holds the arrays and the layer, so that no other object can get their identity.
    key = (id(arrays), id(data.preprocess), prepare, checksums(arrays) if kept.lasting else ())
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
