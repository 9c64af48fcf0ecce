"""Data, and how it becomes batches: in an order that is a function of (seed, epoch) alone.

Whatever the source, a row passes `transform` (a sample), `transform_batch` and `preprocess` (a batch), then
the model. Arrays live on the device; a `paddle.io.Dataset` goes through `paddle.io.DataLoader`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from oarlock.errors import UserError

if TYPE_CHECKING:
    import paddle

    from oarlock.schema import TrainerConfig

Tree = Any  # an array, a tensor, or a dict of them


@dataclass(frozen=True)
class InputSpec:
    """One input of a model: its shape without the batch axis, and its dtype."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class ModelSpec:
    """What a model is built for.

    Attributes:
        inputs: one spec, or a dict of them for a model with several inputs.
        num_classes: how many classes there are, or None.
        output_shape: the shape of one target without the batch axis, where there are no classes.
    """

    inputs: InputSpec | Mapping[str, InputSpec]
    num_classes: int | None = None
    output_shape: tuple[int, ...] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the single input.

        Raises:
            UserError: the data has several inputs.
        """
        if not isinstance(self.inputs, InputSpec):
            raise UserError(f"This model takes one input; the data has {', '.join(self.inputs)}.")
        return self.inputs.shape

    @property
    def num_outputs(self) -> int:
        """Classes, or the number of values in a target."""
        return self.num_classes if self.num_classes is not None else int(np.prod(self.output_shape or (1,)))


@dataclass
class Batch:
    """Rows on the device: `inputs` and `targets` are a tensor or a dict of tensors, the first axis is the row."""

    inputs: Tree
    targets: Tree = None

    @property
    def size(self) -> int:
        leaf = self.inputs
        while isinstance(leaf, Mapping):
            leaf = next(iter(leaf.values()))
        return int(leaf.shape[0])


class Arrays:
    """Rows in memory: NumPy arrays, or dicts of them, with the row as first axis.

    Raises:
        UserError: the arrays do not have the same number of rows.
    """

    def __init__(self, inputs: Tree, targets: Tree = None) -> None:
        self.inputs, self.targets = inputs, targets
        rows = {len(leaf) for tree in (inputs, targets) if tree is not None for leaf in _leaves(tree)}
        if len(rows) != 1:
            raise UserError(f"The arrays have different numbers of rows: {', '.join(map(str, sorted(rows)))}.")
        self._rows = rows.pop()

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: Any) -> tuple[Tree, Tree]:
        return _each(self.inputs, lambda leaf: leaf[index]), _each(self.targets, lambda leaf: leaf[index])

    def take(self, rows: Any) -> Arrays:
        """The rows with these indices."""
        return Arrays(*self[rows])

    def split(self, fraction: float, seed: int) -> tuple[Arrays, Arrays]:
        """The rest, and a random `fraction` of the rows, drawn with `seed`."""
        rows = np.random.default_rng(seed).permutation(len(self))
        taken = round(len(self) * fraction)
        return self.take(np.sort(rows[taken:])), self.take(np.sort(rows[:taken]))


@dataclass
class Data:
    """What `build_data` returns.

    Attributes:
        train: `Arrays`, a `paddle.io.Dataset` of `(inputs, targets)`, or an iterable without length.
        valid: evaluated while training, or None.
        test: evaluated once, with the best weights, or None.
        inputs: the shape and dtype of a raw input; inferred for `Arrays`.
        class_names: for classification.
        output_shape: of one target, where there are no classes.
        collate: makes a batch of a list of samples, as `DataLoader` takes it.
        preprocess: a `paddle.nn.Layer` without weights, from a raw batch of inputs to what the model takes;
            it is exported with the model.
        transform: `(sample, rng) -> sample` for training samples; rng is a `numpy.random.Generator` that
            depends on (seed, epoch, index) only.
        transform_batch: `(batch, rng) -> batch` for training batches, likewise.
    """

    train: Any
    valid: Any = None
    test: Any = None
    inputs: InputSpec | Mapping[str, InputSpec] | None = None
    class_names: Sequence[str] | None = None
    output_shape: tuple[int, ...] | None = None
    collate: Callable[[list[Any]], Any] | None = None
    preprocess: paddle.nn.Layer | None = None
    transform: Callable[[Any, np.random.Generator], Any] | None = None
    transform_batch: Callable[[Batch, np.random.Generator], Batch] | None = None

    def model_spec(self) -> ModelSpec:
        """What the model sees: the raw specs, after `preprocess` where there is one."""
        import paddle

        specs = self.inputs
        if specs is None:
            if not isinstance(self.train, Arrays):
                raise UserError("The data does not say what its inputs are: give Data(inputs=InputSpec(shape, dtype)).")
            specs = _each(self.train.inputs, lambda leaf: InputSpec(tuple(leaf.shape[1:]), str(leaf.dtype)))
        if self.preprocess is not None:
            with paddle.no_grad():
                example = self.preprocess(_each(specs, lambda spec: paddle.zeros([2, *spec.shape], spec.dtype)))
            specs = _each(
                example, lambda leaf: InputSpec(tuple(leaf.shape[1:]), str(leaf.dtype).removeprefix("paddle."))
            )
        classes = len(self.class_names) if self.class_names is not None else None
        return ModelSpec(specs, classes, self.output_shape)

    def prepared(self, batch: Batch) -> Batch:
        """The batch as the model takes it."""
        if self.preprocess is None:
            return batch
        return Batch(self.preprocess(batch.inputs), batch.targets)


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

    def epoch(self, epoch: int, start: int) -> Iterator[list[Batch]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def build_feeder(data: Data, trainer: TrainerConfig, seed: int) -> Feeder:
    """The feeder that fits the training data.

    Raises:
        UserError: an epoch would have no step.
    """
    if not hasattr(data.train, "__len__") or not hasattr(data.train, "__getitem__"):
        return StreamFeeder(data, trainer, seed)
    feeder = (
        ResidentFeeder(data, trainer, seed)
        if isinstance(data.train, Arrays) and data.transform is None
        else LoaderFeeder(data, trainer, seed)
    )
    if feeder.steps_per_epoch == 0:
        rows, needed = len(data.train), trainer.batch_size * trainer.accumulate_steps
        raise UserError(
            f"trainer.batch_size={trainer.batch_size} with accumulate_steps={trainer.accumulate_steps} needs {needed} "
            f"rows a step; there are {rows}.\nChoose a smaller batch, or trainer.drop_last=false."
        )
    return feeder


class ResidentFeeder:
    """Arrays on the device: the shuffled epoch is gathered once and sliced."""

    def __init__(self, data: Data, trainer: TrainerConfig, seed: int) -> None:
        self._data, self._seed = data, seed
        self._rows = resident(data, data.train, prepare=data.transform_batch is None)
        self._steps = plan_steps(len(data.train), trainer.batch_size, trainer.accumulate_steps, trainer.drop_last)
        self.steps_per_epoch: int | None = len(self._steps)
        self.smallest_batch: int | None = smallest(self._steps)

    def epoch(self, epoch: int, start: int) -> Iterator[list[Batch]]:
        import paddle

        order = paddle.to_tensor(epoch_order(self._seed, epoch, len(self._data.train)))
        with paddle.no_grad():
            inputs = _each(self._rows.inputs, lambda leaf: paddle.gather(leaf, order))
            targets = _each(self._rows.targets, lambda leaf: paddle.gather(leaf, order))
        number = sum(len(step) for step in self._steps[:start])
        for step in self._steps[start:]:
            batches = []
            for part in step:
                batch = Batch(
                    _each(inputs, lambda leaf, part=part: leaf[part]),
                    _each(targets, lambda leaf, part=part: leaf[part]),
                )
                if self._data.transform_batch is not None:
                    batch = transformed(self._data, batch, self._seed, epoch, number)
                batches.append(batch)
                number += 1
            yield batches

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore: the order is a function of seed and epoch."""


class LoaderFeeder:
    """Any dataset with a length, through Paddle's loader, in the same order as arrays would come."""

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
                    self._data.transform(row, _rng(self._seed, epoch, index + offset))
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
        batch = data.transform_batch(batch, _rng(seed, epoch, number))
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
    """A dataset whose samples are transformed with their own generator."""

    def __init__(self, data: Data, seed: int, epoch: int) -> None:
        self._dataset, self._transform = data.train, data.transform
        self._seed, self._epoch = seed, epoch

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        sample = self._dataset[index]
        return sample if self._transform is None else self._transform(sample, _rng(self._seed, self._epoch, index))


def _load(dataset: Any, rows: list[list[int]], data: Data, workers: int) -> Iterator[Batch]:
    import paddle

    class Rows(paddle.io.BatchSampler):  # type: ignore[misc]
        def __init__(self) -> None:
            """The rows are given; the base class would want a dataset."""

        def __iter__(self) -> Iterator[list[int]]:
            return iter(rows)

        def __len__(self) -> int:
            return len(rows)

    if not rows:
        return
    # The base class of a dataset is nominal in Paddle; a plain sequence works.
    loader = paddle.io.DataLoader(
        dataset, batch_sampler=Rows(), collate_fn=data.collate, num_workers=workers, return_list=True
    )
    for collated in loader:
        yield as_batch(collated)


def _collate(data: Data) -> Callable[[list[Any]], Any]:
    if data.collate is not None:
        return data.collate
    from paddle.io.dataloader.collate import default_collate_fn

    def collate(samples: list[Any]) -> Any:
        batch = as_batch(default_collate_fn(samples))
        return _tensors(batch)

    return collate


def _rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch, index])


def _leaves(tree: Tree) -> Iterator[Any]:
    if isinstance(tree, Mapping):
        for child in tree.values():
            yield from _leaves(child)
    else:
        yield tree


def _each(tree: Tree, function: Callable[..., Any]) -> Any:
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return {key: _each(child, function) for key, child in tree.items()}
    return function(tree)


def _tensors(batch: Batch) -> Batch:
    import paddle

    return Batch(_each(batch.inputs, paddle.to_tensor), _each(batch.targets, paddle.to_tensor))


def _concat(trees: list[Tree]) -> Tree:
    import paddle

    if trees[0] is None:
        return None
    if isinstance(trees[0], Mapping):
        return {key: _concat([tree[key] for tree in trees]) for key in trees[0]}
    return paddle.concat(trees)
