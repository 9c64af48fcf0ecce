"""Which rows are the same: what was trained on already is not new, and what is held out must not be trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from oarlock import Arrays, Data, UserError


def has_names(data: Data) -> bool:
    """Whether the inputs of a raw row have names: one alone may have one, and `preprocess` may give or take them."""
    return isinstance(data.inputs if data.inputs is not None else data.train.inputs, Mapping)


def joined(parts: Sequence[Arrays]) -> Arrays:
    """The rows of all of them, one after the other.

    Raises:
        UserError: they are of different shapes.
    """
    first = parts[0]
    check_shapes(parts)
    if isinstance(first.inputs, Mapping):
        inputs: Any = {name: np.concatenate([part.inputs[name] for part in parts]) for name in first.inputs}
    else:
        inputs = np.concatenate([part.inputs for part in parts])
    return Arrays(inputs, np.concatenate([part.targets for part in parts]))


def check_shapes(parts: Sequence[Arrays]) -> None:
    """Have rows of one shape; a model that takes any length may have learned from others before.

    Raises:
        UserError: they are of several.
    """
    trees = [part.inputs if isinstance(part.inputs, Mapping) else {"inputs": part.inputs} for part in parts]
    for name in (*trees[0], "targets"):
        leaves = [part.targets if name == "targets" else tree[name] for part, tree in zip(parts, trees, strict=True)]
        one, *others = dict.fromkeys(leaf.shape[1:] for leaf in leaves)
        if others:
            raise UserError(f"A row of {name} has the shape {list(one)} in one place and {list(others[0])} in another; an update "
                            "learns rows of one shape.\nBring each in an update of its own, with --replay 0.")  # fmt: skip


def drawn(rows: Arrays, share: float, seed: int) -> Arrays:
    """A random share of the rows, at least one where the share is not 0; with another seed others."""
    count = min(len(rows), max(round(len(rows) * share), int(share > 0)))
    chosen = np.random.default_rng([seed, len(rows)]).permutation(len(rows))[:count]
    return rows.take(np.sort(chosen))


def fingerprints(rows: Arrays, targets: bool = True) -> list[bytes]:
    """A sum of each row, by which it is known again.

    Args:
        rows: in memory.
        targets: whether rows that differ in their target only are different.
    """
    inputs = rows.inputs
    leaves = [inputs[name] for name in sorted(inputs)] if isinstance(inputs, Mapping) else [inputs]
    leaves = [np.ascontiguousarray(leaf) for leaf in [*leaves, *([rows.targets] if targets else [])]]
    sums = []
    for row in range(len(rows)):
        digest = hashlib.blake2b(digest_size=16)
        for leaf in leaves:
            digest.update(leaf[row].tobytes())
        sums.append(digest.digest())
    return sums


def mark(rows: Arrays) -> str:
    """A sum of all rows in their order, by which a whole file is known again."""
    return hashlib.blake2b(b"".join(fingerprints(rows)), digest_size=16).hexdigest()


def can_be_told_apart(parts: Sequence[Arrays]) -> bool:
    """Whether rows are known by their inputs: of those of a few discrete columns many are equal, and yet not the same.

    Args:
        parts: of one set of data: training, validation, test; no row is in two of them.
    """
    seen: set[bytes] = set()
    for part in parts:
        found = {*fingerprints(part, targets=False)}
        if found & seen:
            return False
        seen |= found
    return True


def new_files(parts: Sequence[Arrays], known: set[str], held_out: set[str]) -> tuple[list[Arrays], int, int]:
    """Which files are new, where rows cannot be told apart.

    Args:
        parts: the rows of each.
        known, held_out: marks of what was trained on already, and of what must not be trained on.

    Returns:
        the rows of the new ones; how many rows were known, or brought twice; how many are held out.
    """
    new, seen, rows_known, rows_held = [], set(known), 0, 0
    for part in parts:
        its = mark(part)
        if its in held_out:
            rows_held += len(part)
        elif its in seen:
            rows_known += len(part)
        else:
            seen.add(its)
            new.append(part)
    return new, rows_known, rows_held


def new_among(rows: Arrays, known: Iterable[Arrays], held_out: Iterable[Arrays]) -> tuple[Arrays | None, int, int]:
    """What of `rows` is new.

    Args:
        rows: what was brought.
        known: what was trained on already.
        held_out: what must not be trained on, whatever its target.

    Returns:
        the new rows, or None where there are none; how many were known, or brought twice; how many are held out.
    """
    forbidden = {one for part in held_out for one in fingerprints(part, targets=False)}
    seen = {one for part in known for one in fingerprints(part)}
    new, held = [], 0
    for row, (whole, inputs) in enumerate(zip(fingerprints(rows), fingerprints(rows, targets=False), strict=True)):
        if inputs in forbidden:
            held += 1
        elif whole not in seen:
            seen.add(whole)
            new.append(row)
    return (rows.take(np.array(new)) if new else None), len(rows) - len(new) - held, held
