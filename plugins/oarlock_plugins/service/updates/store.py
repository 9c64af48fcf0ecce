"""The rows that updates have brought, kept beside the versions of a model: MODELS_DIR/NAME/updates/rows/DIGEST.npz."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oarlock import Arrays, UserError, scratch_folder, shown_path

ROWS = Path("updates") / "rows"
TARGETS, SINGLE, NAMED, MARKS = "targets", "inputs", "inputs/", "marks"


def keep(model: Path, rows: Arrays, marks: Sequence[str] = ()) -> Path:
    """Write rows to a file that is named by what is in it.

    Args:
        model: the model's folder.
        rows: the rows.
        marks: of the files that they are from, where they are known again by whole files.

    Raises:
        OSError: the disk is full or not writable.
    """
    arrays: dict[str, Any] = {**_arrays(rows), **({MARKS: np.array(marks)} if marks else {})}
    target = model / ROWS / f"{_digest(arrays)}.npz"
    if not target.is_file():
        with scratch_folder(target.parent, "rows") as scratch:
            with (scratch / target.name).open("wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            (scratch / target.name).replace(target)
    return target


def kept(path: Path) -> Arrays:
    """The rows of such a file.

    Raises:
        UserError: it is not there, or not what was written.
    """
    arrays = _read(path)
    arrays.pop(MARKS, None)
    targets = arrays.pop(TARGETS)
    named = {name.removeprefix(NAMED): array for name, array in arrays.items() if name.startswith(NAMED)}
    return Arrays(named or arrays[SINGLE], targets)


def marks_of(path: Path) -> set[str]:
    """The marks of the files that such a file's rows are from; none where rows were told apart.

    Raises:
        UserError: as of `kept`.
    """
    return set(_read(path).get(MARKS, np.array([], str)).tolist())


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            arrays = {name: stored[name] for name in stored.files}
        sound = _digest(arrays) == path.stem
    except FileNotFoundError as error:
        raise UserError(f"{shown_path(path)}: the rows of an update are kept there; there is no such file.") from error
    except Exception:  # whatever NumPy and zipfile raise about a damaged file
        sound = False
    if not sound:
        raise UserError(f"{shown_path(path)}: the rows of an update are kept there; it is damaged.")
    return arrays


def here(model: Path, path: str) -> Path:
    """Where a file of rows is now, though the folder of models may have been moved since it was recorded."""
    moved = model / ROWS / Path(path).name
    return moved if moved.is_file() or not Path(path).is_file() else Path(path)


def _arrays(rows: Arrays) -> dict[str, np.ndarray]:
    inputs = rows.inputs
    named = (
        {f"{NAMED}{name}": leaf for name, leaf in inputs.items()} if isinstance(inputs, Mapping) else {SINGLE: inputs}
    )
    return {**{name: np.ascontiguousarray(array) for name, array in named.items()}, TARGETS: rows.targets}


def _digest(arrays: Mapping[str, Any]) -> str:
    """A sum over names, types, shapes and values; that of the file would change with the clock."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]
