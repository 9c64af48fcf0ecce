"""Batches made of samples: collated, transformed with generators of their own, preprocessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from oarlock.data import Batch, Data, Tree, each
from oarlock.errors import UserError


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


def collate_of(data: Data) -> Callable[[list[Any]], Any]:
    if data.collate is not None:
        return data.collate
    from paddle.io.dataloader.collate import default_collate_fn

    def collate(samples: list[Any]) -> Any:
        if isinstance(samples[0], (tuple, list)) and len(samples[0]) == 2 and samples[0][1] is None:
            return tensors(Batch(default_collate_fn([sample[0] for sample in samples])))
        return tensors(as_batch(default_collate_fn(samples)))

    return collate


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch, index])


def tensors(batch: Batch) -> Batch:
    import paddle

    return Batch(each(batch.inputs, paddle.to_tensor), each(batch.targets, paddle.to_tensor))


def concat(trees: list[Tree]) -> Tree:
    import paddle

    if trees[0] is None:
        return None
    if isinstance(trees[0], Mapping):
        return {key: concat([tree[key] for tree in trees]) for key in trees[0]}
    return paddle.concat(trees)
