"""Batches made of samples: collated, transformed with generators of their own, preprocessed."""

from __future__ import annotations

from collections.abc import Mapping
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


def collated(data: Data, samples: list[Any]) -> Batch:
    """The batch that samples make, of arrays or tensors.

    Raises:
        UserError: what comes of them is no batch.
    """
    if data.collate is not None:
        return as_batch(data.collate(samples))
    from paddle.io.dataloader.collate import default_collate_fn

    first = samples[0]
    if isinstance(first, (tuple, list)) and len(first) == 2 and first[1] is None:
        batch = Batch(default_collate_fn([sample[0] for sample in samples]))
    else:
        batch = as_batch(default_collate_fn(samples))
    for tree in (batch.inputs, batch.targets):
        each(tree, _refuse_list)
    return batch


def _refuse_list(leaf: Any) -> None:
    """Paddle makes one of texts, and of a list in each sample one by its places."""
    if isinstance(leaf, (list, tuple)):
        raise UserError("A sample must have arrays, tensors or numbers, or dicts of them; this one has a list or a text.\n"
                        "Give arrays, or Data(collate=…) that makes a batch of the samples.")  # fmt: skip


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch, index])


def on_device(batch: Batch) -> Batch:
    """The batch with tensors for its arrays; what a collate function puts beside them stays as it is."""
    import paddle

    def put(leaf: Any) -> Any:
        return paddle.to_tensor(leaf) if isinstance(leaf, np.ndarray) else leaf

    return Batch(each(batch.inputs, put), each(batch.targets, put))


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
