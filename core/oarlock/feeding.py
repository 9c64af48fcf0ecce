"""From data to batches on the device, in an order that is a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from oarlock.arrays_feeder import ArraysFeeder
from oarlock.batches import collated, on_device, tensors
from oarlock.data import Arrays, Batch, Data, ModelSpec
from oarlock.kept import Kept
from oarlock.sample_feeders import LoaderFeeder, StreamFeeder, load_batches

if TYPE_CHECKING:
    from oarlock.schema import TrainerConfig


class Feeder(Protocol):
    """Gives the micro-batches of each optimizer step of an epoch, from any step on."""

    steps_per_epoch: int | None
    smallest_batch: int | None

    @property
    def draws(self) -> bool:
        """Whether making a batch may take from Paddle's random generator."""

    def epoch(self, epoch: int, start: int, reuse: bool = False) -> Iterator[list[Batch]]:
        """The micro-batches of each step.

        Args:
            epoch: the epoch, from 0 on.
            start: the steps of it that have been made.
            reuse: whether the memory of a batch may be another's later on, in this epoch or the next.
        """

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def build_feeder(
    data: Data, trainer: TrainerConfig, seed: int, kept: Kept | None = None, spec: ModelSpec | None = None
) -> Feeder:
    """The feeder that fits the training data.

    Args:
        data: the data.
        trainer: batch size and the like.
        seed: the run's.
        kept: what is kept between the runs of a process.
        spec: what the model sees of the data, where that is known.
    """
    if not hasattr(data.train, "__len__") or not hasattr(data.train, "__getitem__"):
        return StreamFeeder(data, trainer, seed)
    if isinstance(data.train, Arrays) and data.transform is None:
        return ArraysFeeder(data, trainer, seed, kept or Kept(), spec)
    return LoaderFeeder(data, trainer, seed)


def evaluation_batches(data: Data, part: Any, batch_size: int) -> Iterator[Batch]:
    """The rows of a split in their own order, in batches as the model takes them."""
    if isinstance(part, Arrays):
        for start in range(0, len(part), batch_size):
            yield data.prepared(tensors(Batch(*part[start : start + batch_size])))
    elif hasattr(part, "__len__") and hasattr(part, "__getitem__"):
        rows = [list(range(start, min(start + batch_size, len(part)))) for start in range(0, len(part), batch_size)]
        for batch in load_batches(part, rows, data, 0):
            yield data.prepared(batch)
    else:
        samples = iter(part)
        while chunk := list(islice(samples, batch_size)):
            yield data.prepared(on_device(collated(data, chunk)))
