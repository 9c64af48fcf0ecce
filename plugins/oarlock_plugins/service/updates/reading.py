"""Files that a person brings, as rows of the kind that a model takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oarlock import Arrays, Data, UserError, nearest, warn
from oarlock_plugins.data.labels import encode
from oarlock_plugins.data.no_rows import NoRows
from oarlock_plugins.data.npy_files import read_npy, read_npz
from oarlock_plugins.data.tables import read_table
from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.updates.rows import has_names, joined

SUFFIXES = (".csv", ".npy", ".npz")
TARGET = "target"


class Reader:
    """Reads files as the data of a run would.

    Args:
        base: the data component of the first run. One with `reads`, the suffixes of its files, reads those itself, by
            `read_rows(path, option) -> (Arrays, where)`; of others a .csv file has a column `target` and one for each
            value, an .npz file has `inputs` and `targets`.
        data: what it built.
        inputs: what the model takes.
    """

    def __init__(self, base: Any, data: Data, inputs: Sequence[TensorSpec]) -> None:
        self._base, self._data, self._inputs = base, data, inputs

    def read(self, paths: Sequence[Path], option: str, targets: Path | None = None) -> Arrays | None:
        """The rows of all files, as of `read_files`; None where there is not one row."""
        parts = self.read_files(paths, option, targets)
        return joined(parts) if parts else None

    def read_files(self, paths: Sequence[Path], option: str, targets: Path | None = None) -> list[Arrays]:
        """The rows of each file, and of each in the folders; those without rows are left out.

        Args:
            paths: files and folders.
            option: how they were given, `--data`.
            targets: an .npy file with the targets of the one .npy file of inputs.

        Raises:
            UserError: one cannot be read, or its rows are of another kind.
        """
        files, parts = _files(paths, option), []
        if targets is not None and [path.suffix for path in files] != [".npy"]:
            shown = ", ".join([*map(str, files[:5]), *(["…"] if len(files) > 5 else [])])
            raise UserError(f"--targets {targets}: it belongs to one .npy file; {option} has {shown or 'no file'}.")
        for path in files:
            try:
                raw, where = self._raw(path, option, targets)
            except NoRows as error:
                warn(str(error))
                continue
            parts.append(self._fitted(raw, f"{option} {path}", where))
        return parts

    def _raw(self, path: Path, option: str, targets: Path | None) -> tuple[Arrays, Callable[[int], str]]:
        def row(number: int) -> str:
            return f"{option} {path}: row {number}"

        if path.suffix in getattr(self._base, "reads", ()):
            return self._base.read_rows(str(path), option)
        names = [one.name for one in self._inputs]
        if path.suffix == ".npz":
            arrays = read_npz(str(path), [*names, "targets"], option)
            wanted = arrays.pop("targets")
            return _paired(arrays if len(names) > 1 else arrays[names[0]], wanted, row(0)), row
        if len(names) > 1:
            raise UserError(f"{option} {path}: the model takes the inputs {', '.join(names)}; expected an .npz file with "
                            "them and with targets.")  # fmt: skip
        if path.suffix == ".npy":
            if targets is None:
                raise UserError(f"{option} {path}: an .npy file holds the inputs alone; give --targets FILE.npy too.")
            return _paired(read_npy(str(path), option), read_npy(str(targets), "--targets"), row(0)), row
        table = read_table(str(path), ",", option)
        texts = table.column(TARGET, "the target column")
        values = np.stack([table.numbers(name, option) for name in table.columns if name != TARGET], axis=1)
        if self._data.class_names is not None:
            return Arrays(values, np.array(texts)), table.where
        return Arrays(values, table.numbers(TARGET, option)), table.where

    def _fitted(self, rows: Arrays, name: str, where: Callable[[int], str]) -> Arrays:
        """The rows with the model's types and shapes, targets as class numbers or values."""
        given = rows.inputs if isinstance(rows.inputs, dict) else {self._inputs[0].name: rows.inputs}
        fitted = {spec.name: _fit(given[spec.name], spec, name) for spec in self._inputs}
        return Arrays(
            fitted if has_names(self._data) else fitted[self._inputs[0].name], self._targets(rows, name, where)
        )

    def _targets(self, rows: Arrays, name: str, where: Callable[[int], str]) -> np.ndarray:
        """Class numbers or values, in the type and the shape of those that the run learned from."""
        known = self._data.train.targets if isinstance(self._data.train, Arrays) else None
        if self._data.class_names is not None:
            targets = encode(rows.targets, self._data.class_names, where)
            # As many as in a row of them; where any length will do, there may be more.
            shape = known.shape[1:] if known is not None and known[0].size == targets[0].size else targets.shape[1:]
        else:
            targets = _numbers(rows.targets, "float32" if known is None else known.dtype, where)
            asked = (1,) if self._data.output_shape is None else tuple(self._data.output_shape)
            shape = asked if known is None else known.shape[1:]
            if targets[0].size != math.prod(shape):
                raise UserError(f"{name}: its targets have the shape {list(targets.shape[1:])}; the model gives "
                                f"{list(shape)}.")  # fmt: skip
        return targets.reshape(-1, *shape).astype(targets.dtype if known is None else known.dtype)


def _files(paths: Sequence[Path], option: str) -> list[Path]:
    """The files, those in folders by name; a file that is none of ours is an error, inside a folder it is not."""
    found = []
    for path in paths:
        if path.is_dir():
            found += sorted(one for one in path.iterdir() if one.suffix in SUFFIXES and not one.name.startswith("."))
        elif path.suffix not in SUFFIXES:
            raise UserError(f"{option} {path}: expected {', '.join(SUFFIXES)}, or a folder with such files. "
                            f"{nearest(path.suffix, SUFFIXES) if path.suffix else ''}".rstrip())  # fmt: skip
        else:
            found.append(path)
    return found


def _paired(inputs: Any, targets: np.ndarray, where: str) -> Arrays:
    counts = {len(leaf) for leaf in (inputs.values() if isinstance(inputs, dict) else [inputs])} | {len(targets)}
    if len(counts) > 1:
        raise UserError(f"{where.rpartition(':')[0]}: inputs and targets have different numbers of rows: "
                        f"{', '.join(map(str, sorted(counts)))}.")  # fmt: skip
    return Arrays(inputs, targets)


def _fit(array: np.ndarray, spec: TensorSpec, name: str) -> np.ndarray:
    """The array as the model takes it; flat rows get their shape.

    Raises:
        UserError: it is of another shape, or holds what the type cannot.
    """
    shape = array.shape[1:]
    if len(shape) != len(spec.shape) or any(b not in (-1, a) for a, b in zip(shape, spec.shape, strict=True)):
        size = int(np.prod(spec.shape))
        if array.ndim != 2 or shape[0] != size or -1 in spec.shape:
            flat = f", or {size} values in a row" if -1 not in spec.shape and len(spec.shape) > 1 else ""
            raise UserError(f"{name}: a row of {spec.name} has the shape {list(shape)}; the model takes "
                            f"{list(spec.shape)}{flat}.")  # fmt: skip
        array = array.reshape(-1, *spec.shape)
    if str(array.dtype) == spec.dtype:
        return array
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(spec.dtype)
    rounds = np.issubdtype(array.dtype, np.floating) and np.issubdtype(cast.dtype, np.floating)
    if not rounds and not (array.dtype.kind in "biuf" and np.array_equal(cast, array)):
        raise UserError(
            f"{name}: {spec.name} holds {array.dtype} values that are no {spec.dtype}, which the model takes."
        )
    return cast


def _numbers(targets: np.ndarray, dtype: Any, where: Callable[[int], str]) -> np.ndarray:
    whole = not np.issubdtype(np.dtype(dtype), np.floating)
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            numbers = targets.astype(dtype)
    except ValueError as error:
        row = next((row for row, target in enumerate(targets) if not _is_number(target, dtype)), 0)
        raise UserError(
            f"{where(row)}: the target is '{targets[row]}'; expected a {'whole' if whole else 'finite'} number."
        ) from error
    sound = numbers == targets if whole and targets.dtype.kind in "biuf" else np.isfinite(numbers)
    if not sound.all():
        row = int(np.argmin(sound.reshape(len(numbers), -1).all(axis=1)))
        raise UserError(
            f"{where(row)}: the target is '{targets[row]}'; expected a {'whole' if whole else 'finite'} number."
        )
    return numbers


def _is_number(target: Any, dtype: Any) -> bool:
    try:
        np.asarray(target).astype(dtype)
    except ValueError:
        return False
    return True
