"""What data is: rows, their shapes, and what is done to them on the way to the model.

Whatever the source, a row passes `transform` (a sample), `transform_batch` and `preprocess` (a batch), then
the model. Arrays live on the device; a `paddle.io.Dataset` is read row by row,
in processes of `paddle.io.DataLoader` where trainer.num_workers says so.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from oarlock.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import paddle

# Of an input of any length, those that `preprocess` is tried with: long enough for most windows, and far apart.
LENGTHS = 256, 512

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
        return self.num_classes if self.num_classes is not None else math.prod(self.output_shape or (1,))


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


class Rows(Batch):
    """Consecutive rows of a larger batch on the device, cut when they are read.

    Attributes:
        whole: the larger batch.
        start, stop: the rows.
    """

    def __init__(self, whole: Batch, start: int, stop: int) -> None:
        self.whole, self.start, self.stop = whole, start, stop
        self.renew()

    def renew(self) -> None:
        """Cut the rows anew when they are read next: there are others in the larger batch."""
        self._inputs: Tree = None
        self._targets: Tree = None

    @property
    def inputs(self) -> Tree:
        if self._inputs is None:
            self._inputs = each(self.whole.inputs, lambda leaf: leaf[self.start : self.stop])
        return self._inputs

    @property
    def targets(self) -> Tree:
        if self._targets is None:
            self._targets = each(self.whole.targets, lambda leaf: leaf[self.start : self.stop])
        return self._targets

    @property
    def size(self) -> int:
        return self.stop - self.start


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
        return each(self.inputs, lambda leaf: leaf[index]), each(self.targets, lambda leaf: leaf[index])

    def take(self, rows: Any) -> Arrays:
        """The rows with these indices."""
        return Arrays(*self[rows])

    def split(self, fraction: float, seed: int) -> tuple[Arrays, Arrays]:
        """The rest, and a random `fraction` of the rows, drawn with `seed`."""
        import numpy as np

        rows = np.random.default_rng(seed).permutation(len(self))
        taken = round(len(self) * fraction)
        return self.take(np.sort(rows[taken:])), self.take(np.sort(rows[:taken]))


def checksums(arrays: Arrays) -> tuple[int, ...]:
    """Of those arrays that can be written to; what is mapped from a file mostly cannot."""
    import numpy as np

    leaves = [leaf for tree in (arrays.inputs, arrays.targets) if tree is not None for leaf in _leaves(tree)]
    own = [leaf for leaf in leaves if leaf.flags.writeable and not leaf.dtype.hasobject]
    return tuple(zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data) for leaf in own)


@dataclass
class Data:
    """What `build_data` returns.

    Attributes:
        train: `Arrays`, a `paddle.io.Dataset` of `(inputs, targets)`, or an iterable without length.
        valid: evaluated while training, or None.
        test: evaluated once, with the best weights, or None.
        inputs: the shape and dtype of a raw input; inferred for `Arrays`.
        class_names: for classification.
        columns: the names of a single input's values, where the rows are those of a table.
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
    columns: Sequence[str] | None = None
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
            specs = each(self.train.inputs, lambda leaf: InputSpec(tuple(leaf.shape[1:]), str(leaf.dtype)))
        if self.preprocess is not None:

            def made_of(length: int) -> Tree:
                with paddle.no_grad():
                    return self.preprocess(each(specs, partial(_zeros, length)))  # type: ignore[misc]

            # Where any length will do, of two lengths: what differs in what is made of them is of any length too.
            made = longer = made_of(LENGTHS[0])
            if any(-1 in spec.shape for spec in _leaves(specs)):
                longer = made_of(LENGTHS[1])
            shapes = [tuple(leaf.shape[1:]) for leaf in _leaves(longer)][::-1]
            specs = each(made, lambda leaf: InputSpec(_common(tuple(leaf.shape[1:]), shapes.pop()),
                                                      str(leaf.dtype).removeprefix("paddle.")))  # fmt: skip
        classes = len(self.class_names) if self.class_names is not None else None
        return ModelSpec(specs, classes, self.output_shape)

    def prepared(self, batch: Batch) -> Batch:
        """The batch as the model takes it."""
        if self.preprocess is None:
            return batch
        return Batch(self.preprocess(batch.inputs), batch.targets)


def _zeros(length: int, spec: InputSpec) -> Any:
    """Two rows of zeros, as long as is said where any length will do."""
    import paddle

    return paddle.zeros([2, *(length if size < 0 else size for size in spec.shape)], spec.dtype)


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size if size == same else -1 for size, same in zip(one, other, strict=True))


def _leaves(tree: Tree) -> Iterator[Any]:
    if isinstance(tree, Mapping):
        for child in tree.values():
            yield from _leaves(child)
    else:
        yield tree


def each(tree: Tree, function: Callable[..., Any]) -> Any:
    """The tree with the function applied to every array in it."""
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return {key: each(child, function) for key, child in tree.items()}
    return function(tree)
