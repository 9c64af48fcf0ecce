"""Which columns of a table are which values of a model's inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from oarlock import UserError, nearest
from oarlock_plugins.service.bundle import TensorSpec


def value_names(name: str, shape: Sequence[int], labels: Sequence[str] | None = None) -> list[str]:
    """The columns of a tensor: its name, or its name and the number, or the label, of each value."""
    if not shape:
        return [name]
    count = math.prod(shape)
    ends = labels if labels is not None and len(labels) == count else range(count)
    return [f"{name}_{end}" for end in ends]


def refuse_any_length(path: Path, inputs: Sequence[TensorSpec]) -> None:
    """Refuse a table for a model whose rows may have any length.

    Raises:
        UserError: it is such a model.
    """
    for spec in inputs:
        if -1 in spec.shape:
            raise UserError(f"--input {path}: the model's {spec.name} may have any length; a table cannot hold that.\n"
                            "Give .npy or .npz files.")  # fmt: skip


def choose_columns(
    path: Path,
    header: Sequence[str],
    inputs: Sequence[TensorSpec],
    asked: Sequence[str] | None,
    trained: Sequence[str] | None = None,
) -> list[int]:
    """The places of the model's values in a table, in the model's order.

    They are those that were asked for; else those that the model was trained on; else those with the names of the
    model's values; else all, if their number fits.

    Args:
        path: the table.
        header: its columns.
        inputs: what the model takes.
        asked: what was given with `--columns`.
        trained: the columns that the model was trained on, where it and the table have names.

    Raises:
        UserError: there is no such column, or their number is not that of the model's values.
    """
    refuse_any_length(path, inputs)
    names = [name for spec in inputs for name in value_names(spec.name, spec.shape)]
    if asked is not None:
        places = [place for name in asked for place in _places(path, header, name)]
    elif trained is not None:
        if missing := [name for name in trained if name not in header]:
            raise UserError(f"--input {path}: it has no column {quoted(missing[0])}, which the model was trained on. "
                            f"{nearest(quoted(missing[0]), map(quoted, header))}\n"
                            "Say which columns take their places with --columns A,B,C.")  # fmt: skip
        places = [header.index(name) for name in trained]
    elif len(names) > 1 and set(names) <= set(header):
        places = [header.index(name) for name in names]
    else:
        places = list(range(len(header)))
    if len(places) != len(names):
        wanted = ", ".join(f"{spec.name} {list(spec.shape)}" if spec.shape else spec.name for spec in inputs)
        have = "--columns names" if asked is not None else f"{path} has"
        raise UserError(f"--input {path}: {have} {len(places)} columns; the model takes {len(names)} numbers ({wanted}).\n"
                        "Choose them with --columns A,B,C or --columns A..C.")  # fmt: skip
    doubled = {header[place] for place in places if header.count(header[place]) > 1}
    if doubled and len(places) != len(header):
        raise UserError(f"--input {path}: two columns are called {sorted(doubled)[0]}.")
    return places


def _places(path: Path, header: Sequence[str], asked: str) -> range:
    if asked in header:
        return range(header.index(asked), header.index(asked) + 1)
    first, dots, last = asked.partition("..")
    for name in (first, last) if dots else (asked,):
        if name not in header:
            raise UserError(f"--columns {asked}: {path} has no column {quoted(name)}. "
                            f"{nearest(quoted(name), map(quoted, header))}")  # fmt: skip
    if header.index(last) < header.index(first):
        raise UserError(f"--columns {asked}: {last} stands before {first} in {path}; write {last}..{first}.")
    return range(header.index(first), header.index(last) + 1)


def quoted(name: str) -> str:
    """A column's name as it is typed in a list of them."""
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"') else name
