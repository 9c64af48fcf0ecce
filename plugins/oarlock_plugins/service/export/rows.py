"""Real rows as the data gives them, before `preprocess`: what the exported model takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from oarlock import Arrays, Batch, Run, each
from oarlock_plugins.service.export.errors import NotExportable

SINGLE = "inputs"


@dataclass(frozen=True)
class RealRows:
    """Rows of a split.

    Attributes:
        inputs: by name, the row first.
        numbers: which rows of the split they are.
        split: valid, or train where there is none.
        single: whether the model takes one input, not a dict of them.
    """

    inputs: Mapping[str, np.ndarray]
    numbers: np.ndarray
    split: str
    single: bool

    def __len__(self) -> int:
        return len(self.numbers)

    def tree(self, inputs: Mapping[str, Any]) -> Any:
        """Inputs by name as the model's code takes them."""
        return inputs[SINGLE] if self.single else dict(inputs)

    def where(self, row: int) -> str:
        """A row as a person finds it."""
        return f"row {self.numbers[row]} of {self.split}"


def real_rows(run: Run, count: int) -> RealRows:
    """So many rows, spread over the validation data, or over the training data where there is none.

    Raises:
        NotExportable: an input is no array of a known type, or has parts inside parts.
    """
    split = "valid" if "valid" in run.splits else "train"
    part = getattr(run.data, split)
    if isinstance(part, Arrays):
        numbers = _spread(len(part), count)
        inputs = part[numbers][0]
    elif hasattr(part, "__len__") and hasattr(part, "__getitem__"):
        numbers = _spread(len(part), count)
        inputs = _collated(run, [part[int(number)] for number in numbers])
    else:
        samples = list(islice(iter(part), count))
        numbers, inputs = np.arange(len(samples)), _collated(run, samples)
    single = not isinstance(inputs, Mapping)
    named = {SINGLE: inputs} if single else dict(inputs)
    return RealRows({name: _array(name, leaf) for name, leaf in named.items()}, numbers, split, single)


def _spread(rows: int, count: int) -> np.ndarray:
    return np.unique(np.linspace(0, rows - 1, min(rows, count)).astype("int64"))


def _collated(run: Run, samples: list[Any]) -> Any:
    """The inputs of samples as a batch: by the data's own `collate`, or one above the other."""
    if run.data.collate is not None:
        batch = run.data.collate(samples)
        if isinstance(batch, Batch):
            return batch.inputs
        return batch["inputs"] if isinstance(batch, Mapping) else batch[0]
    inputs = [sample["inputs"] if isinstance(sample, Mapping) else sample[0] for sample in samples]
    if isinstance(inputs[0], Mapping):
        return {name: np.stack([np.asarray(row[name]) for row in inputs]) for name in inputs[0]}
    return np.stack([np.asarray(row) for row in inputs])


def _array(name: str, leaf: Any) -> np.ndarray:
    from oarlock_plugins.service.bundle import DATATYPES

    if isinstance(leaf, Mapping):
        raise NotExportable(f"export: the input {name} has parts of its own ({', '.join(leaf)}).\n"
                            "A bundle takes arrays by name: give the data one level of names.")  # fmt: skip
    array = leaf if isinstance(leaf, np.ndarray) else np.asarray(each(leaf, lambda tensor: tensor.numpy()))
    if str(array.dtype) not in DATATYPES:
        raise NotExportable(f"export: the input {name} is of type {array.dtype}; a bundle takes numbers.")
    return np.ascontiguousarray(array)
