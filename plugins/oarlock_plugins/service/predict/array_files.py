"""NumPy's files, read block by block: neither a whole array nor a whole compressed member is ever in memory."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from oarlock import UserError
from oarlock_plugins.data.npy_files import first_line
from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.predict.rows import Parsed, checked, numeric
from oarlock_plugins.service.predict.sources import BLOCK_BYTES

MOST_ROWS = 1 << 16


class ArrayFile:
    """A .npy with the one input of a model, or a .npz with an array for each.

    Raises:
        UserError: an array is missing, of another shape, of objects, or stored column by column.
    """

    def __init__(self, path: Path, inputs: Sequence[TensorSpec]) -> None:
        self._path = path
        self.first_line: int | None = None
        self._members = self._find_members([spec.name for spec in inputs])
        self._headers = {}
        with contextlib.ExitStack() as stack:
            for spec in inputs:
                self._headers[spec.name] = self._read_header(self._open(stack, spec.name), spec)
        counts = {name: shape[0] for name, (shape, _) in self._headers.items()}
        if len(set(counts.values())) != 1:
            raise UserError(f"--input {path}: its arrays have different numbers of rows: "
                            f"{', '.join(f'{name} {count}' for name, count in counts.items())}.")  # fmt: skip
        self.rows = next(iter(counts.values()))
        self.inputs: Sequence[TensorSpec] = [replace(spec, shape=self._row_shape(spec)) for spec in inputs]
        widest = sum(self._row_bytes(name) for name in self._headers)
        self._block_rows = min(MOST_ROWS, max(1, BLOCK_BYTES // max(1, widest)))

    def blocks(self, position: int) -> Iterator[tuple[dict[str, np.ndarray], int]]:
        with contextlib.ExitStack() as stack:
            files = {spec.name: self._open(stack, spec.name) for spec in self.inputs}
            for name, file in files.items():
                self._read_header(file, None)
                file.seek(file.tell() + position * self._row_bytes(name))
            while position < self.rows:
                count = min(self._block_rows, self.rows - position)
                block = {name: self._read_rows(file, name, count) for name, file in files.items()}
                position += count
                yield block, position

    def parse(self, block: dict[str, np.ndarray]) -> Parsed:
        rows = len(next(iter(block.values())))
        tables = {name: array.reshape(rows, math.prod(array.shape[1:])) for name, array in block.items()}
        return checked(tables, self.inputs, {}, rows, lambda name, place: f"{name}[{place}]")

    def fraction(self, position: int) -> float:
        return position / max(1, self.rows)

    def _find_members(self, names: Sequence[str]) -> dict[str, str]:
        if self._path.suffix == ".npy":
            if len(names) > 1:
                raise UserError(f"--input {self._path}: the model takes {', '.join(names)}; a .npy holds one array.\n"
                                "Give a .npz with an array of each name.")  # fmt: skip
            return {names[0]: ""}
        try:
            with zipfile.ZipFile(self._path) as archive:
                held = [name.removesuffix(".npy") for name in archive.namelist()]
        except OSError:
            raise
        except Exception as error:  # whatever zipfile raises about a damaged file
            raise UserError(f"--input {self._path}: not a .npz file: {first_line(error)}.") from error
        if len(names) == len(held) == 1:
            return {names[0]: f"{held[0]}.npy"}
        if missing := [name for name in names if name not in held]:
            raise UserError(f"--input {self._path}: it has no array {missing[0]}; it has {', '.join(held) or 'none'}.\n"
                            f"The model takes {', '.join(names)}.")  # fmt: skip
        return {name: f"{name}.npy" for name in names}

    def _open(self, stack: contextlib.ExitStack, name: str) -> IO[bytes]:
        if not self._members[name]:
            return stack.enter_context(self._path.open("rb"))
        try:
            archive = stack.enter_context(zipfile.ZipFile(self._path))
            return stack.enter_context(archive.open(self._members[name]))
        except Exception as error:  # whatever zipfile raises about a damaged file
            raise UserError(f"--input {self._path}: its array {name} cannot be read: {first_line(error)}.\n"
                            "The file is damaged, or is no .npz of NumPy.") from error  # fmt: skip

    def _read_header(self, file: IO[bytes], spec: TensorSpec | None) -> tuple[tuple[int, ...], np.dtype]:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, by_column, dtype = read(file)
        except Exception as error:  # whatever NumPy and zipfile raise about a damaged file
            raise UserError(f"--input {self._path}: not an array of NumPy: {first_line(error)}.") from error
        if spec is None:
            return shape, dtype
        if dtype.hasobject or not numeric(dtype):
            raise UserError(f"--input {self._path}: its values are of type {dtype}; expected {spec.dtype}.")
        if not _fits(shape, spec.shape):
            wanted = ", ".join(["rows", *(str(size) if size >= 0 else "any" for size in spec.shape)])
            raise UserError(f"--input {self._path}: {spec.name} has the shape {list(shape)}; expected [{wanted}].")
        if by_column and len(shape) > 1:
            raise UserError(f"--input {self._path}: {spec.name} is stored column by column, so its rows cannot be read "
                            "one after the other.\nSave it again: np.save(file, np.ascontiguousarray(array)).")  # fmt: skip
        if not self._members[spec.name]:
            missing = math.prod(shape) * dtype.itemsize + file.tell() - self._path.stat().st_size
            if missing > 0:
                raise UserError(f"--input {self._path}: it ends {missing} bytes too early.")
        return shape, dtype

    def _read_rows(self, file: IO[bytes], name: str, count: int) -> np.ndarray:
        shape, dtype = self._headers[name]
        try:
            content = file.read(count * self._row_bytes(name))
        except Exception as error:  # whatever zipfile raises about a damaged file
            raise UserError(f"--input {self._path}: it is damaged: {first_line(error)}.") from error
        if len(content) < count * self._row_bytes(name):
            raise UserError(f"--input {self._path}: {name} ends before its last row.")
        return np.frombuffer(content, dtype).reshape(count, *shape[1:])

    def _row_bytes(self, name: str) -> int:
        shape, dtype = self._headers[name]
        return math.prod(shape[1:]) * dtype.itemsize

    def _row_shape(self, spec: TensorSpec) -> tuple[int, ...]:
        """The model's shape, with the file's length where any will do."""
        return tuple(self._headers[spec.name][0][1:]) if -1 in spec.shape else spec.shape


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether rows have the shape, or all its values in one axis."""
    if min(shape, default=-1) < 0:
        return False
    same = len(shape) == len(wanted) + 1 and all(b in (-1, a) for a, b in zip(shape[1:], wanted, strict=True))
    return same or (-1 not in wanted and len(shape) <= 2 and math.prod(shape[1:]) == math.prod(wanted))
