"""Parquet: decoded by one thread a block at a time, turned into numbers in many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oarlock import UserError
from oarlock_plugins.data.npy_files import first_line
from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.predict.columns import choose_columns, refuse_any_length
from oarlock_plugins.service.predict.rows import Parsed, checked, convert, numeric
from oarlock_plugins.service.predict.sources import BLOCK_BYTES, TableOptions

MOST_ROWS = 1 << 16


class ParquetFile:
    """A table with a column for each value, or with one column of lists for an input.

    Raises:
        UserError: it is none, or its columns are not the model's.
    """

    def __init__(self, path: Path, inputs: Sequence[TensorSpec], options: TableOptions) -> None:
        from pyarrow import parquet

        self._path, self.inputs = path, inputs
        self.first_line: int | None = None
        try:
            self._file = parquet.ParquetFile(path, pre_buffer=False)
        except OSError:
            raise
        except Exception as error:  # whatever Arrow raises about a damaged file
            raise UserError(f"--input {path}: not a Parquet file: {first_line(error)}") from error
        refuse_any_length(path, inputs)
        self.rows: int = self._file.metadata.num_rows
        self._columns = self._find_columns(options)
        values = sum(int(np.prod(spec.shape, dtype=int)) for spec in inputs)
        self._block_rows = min(MOST_ROWS, max(1, BLOCK_BYTES // (8 * max(1, values))))

    def blocks(self, position: int) -> Iterator[tuple[Any, int]]:
        wanted = list(dict.fromkeys(name for names in self._columns.values() for name in names))
        start = 0
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if start + rows > position:
                at = start
                for batch in self._batches(group, wanted):
                    at += batch.num_rows
                    if at > position:
                        yield batch, at
                if at != start + rows:
                    raise UserError(f"--input {self._path}: it is damaged: it has {at - start:,} of {rows:,} rows.")
            start += rows
        if start != self.rows:
            raise UserError(f"--input {self._path}: it is damaged: it has {start:,} of {self.rows:,} rows.")

    def parse(self, block: Any) -> Parsed:
        faults: dict[int, str] = {}
        tables = {}
        for spec in self.inputs:
            size = int(np.prod(spec.shape, dtype=int))
            tables[spec.name] = self._values(block, self._columns[spec.name], size, np.dtype(spec.dtype), faults)
        if faults:
            sound = [row for row in range(block.num_rows) if row not in faults]
            tables = {name: table[sound] for name, table in tables.items()}
        return checked(tables, self.inputs, faults, block.num_rows, self._name)

    def fraction(self, position: int) -> float:
        return position / max(1, self.rows)

    def _batches(self, group: int, columns: list[str]) -> Iterator[Any]:
        try:
            yield from self._file.iter_batches(self._block_rows, row_groups=[group], columns=columns)
        except Exception as error:  # whatever Arrow raises about a damaged page, OSError as well
            raise UserError(f"--input {self._path}: it is damaged: {first_line(error)}") from error

    def _find_columns(self, options: TableOptions) -> dict[str, list[str]]:
        import pyarrow

        schema = self._file.schema_arrow
        names = list(schema.names)
        named = options.trained is not None and set(options.trained) <= set(names)
        if options.columns is None and not named and all(spec.name in names for spec in self.inputs):
            columns = {spec.name: [spec.name] for spec in self.inputs}
        else:
            chosen = [
                names[place]
                for place in choose_columns(self._path, names, self.inputs, options.columns, options.trained)
            ]
            columns = {}
            for spec in self.inputs:
                size = int(np.prod(spec.shape, dtype=int))
                columns[spec.name], chosen = chosen[:size], chosen[size:]
        for spec in self.inputs:
            for name in columns[spec.name]:
                if names.count(name) > 1:
                    raise UserError(f"--input {self._path}: two columns are called {name}.")
                kind = schema.field(name).type
                lists = (
                    pyarrow.types.is_list(kind)
                    or pyarrow.types.is_large_list(kind)
                    or pyarrow.types.is_fixed_size_list(kind)
                )
                if lists and len(columns[spec.name]) == 1 and spec.shape:
                    kind = kind.value_type
                elif lists or (len(columns[spec.name]) == 1 and np.prod(spec.shape, dtype=int) != 1):
                    raise UserError(f"--input {self._path}: the column {name} is {kind}; expected "
                                    f"{'a list of numbers' if spec.shape and not lists else 'a number'}.")  # fmt: skip
                if not _numbers(kind):
                    raise UserError(f"--input {self._path}: the column {name} is {kind}; expected numbers.\n"
                                    "Choose others with --columns A,B,C or --columns A..C.")  # fmt: skip
        return columns

    def _values(self, block: Any, names: list[str], size: int, dtype: np.dtype, faults: dict[int, str]) -> np.ndarray:
        """The values of an input, [rows, values]; a missing one is a fault of its row."""
        import pyarrow.compute

        if len(names) == 1 and hasattr(block.column(names[0]).type, "value_type"):
            return _unlisted(block.column(names[0]), names[0], size, faults)
        columns = []
        for name in names:
            column = block.column(name)
            if column.null_count:
                for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)):
                    faults.setdefault(int(row), f"{name}: missing")
                column = column.fill_null(False if pyarrow.types.is_boolean(column.type) else 0)
            columns.append(column.to_numpy(zero_copy_only=False))
        if dtype.kind in "iu" and len({column.dtype for column in columns}) > 1:
            # Put together they would be doubles, and a large whole number another one.
            for place, name in enumerate(names):
                values = columns[place]
                columns[place], bad, expected = convert(values, dtype)
                for row in np.flatnonzero(bad) if bad is not None else ():
                    faults.setdefault(int(row), f"{name}: {values[row]} is {expected}")
        return np.stack(columns, axis=1)

    def _name(self, name: str, place: int) -> str:
        columns = self._columns[name]
        return columns[place] if len(columns) > 1 else f"{columns[0]}[{place}]"


def _unlisted(column: Any, name: str, size: int, faults: dict[int, str]) -> np.ndarray:
    """A column of lists as an array."""
    import pyarrow.compute

    lengths = pyarrow.compute.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(lengths != size):
        faults.setdefault(int(row), f"{name}: " + ("missing" if lengths[row] < 0 else
                          f"it has {lengths[row]} values, expected {size}"))  # fmt: skip
    whole = column.filter(pyarrow.array(lengths == size))
    flat = whole.flatten()
    found = np.zeros((len(column), size), flat.fill_null(0).to_numpy(zero_copy_only=False).dtype)
    found[lengths == size] = flat.fill_null(0).to_numpy(zero_copy_only=False).reshape(-1, size)
    if flat.null_count:
        missing = flat.is_null().to_numpy(zero_copy_only=False).reshape(-1, size)
        for row in np.flatnonzero(lengths == size)[missing.any(axis=1)]:
            faults.setdefault(int(row), f"{name}: a value is missing")
    return found


def _numbers(kind: Any) -> bool:
    try:
        return numeric(np.dtype(kind.to_pandas_dtype()))
    except (NotImplementedError, TypeError):
        return False
