"""Answers as tables: a column for each value, classes by their names, an empty cell for a gap."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.predict.answers import Answers
from oarlock_plugins.service.predict.columns import value_names
from oarlock_plugins.service.predict.sinks import GrowingFile

CLASS = "class"


class Table:
    """Answers as Arrow's columns.

    Attributes:
        names: of the columns.
    """

    def __init__(self, outputs: Sequence[TensorSpec], class_names: Sequence[str] | None) -> None:
        self._outputs, self._class_names = outputs, class_names
        self.names = [name for spec in outputs for name in value_names(spec.name, spec.shape, class_names)]

    def named(self, spec: TensorSpec) -> bool:
        """Whether an output is a class that has a name."""
        return (
            spec.name == CLASS
            and not spec.shape
            and self._class_names is not None
            and np.dtype(spec.dtype).kind in "iu"
        )

    def batch(self, answers: Answers) -> Any:
        import pyarrow

        columns = []
        for spec in self._outputs:
            array = answers.outputs[spec.name]
            flat = array.reshape(len(array), int(np.prod(spec.shape, dtype=int)))
            for place in range(flat.shape[1]):
                values = np.ascontiguousarray(flat[:, place])
                if values.dtype == np.float16:  # Arrow writes none into a CSV
                    values = values.astype("float32")
                column = pyarrow.array(values, mask=answers.faulty)
                columns.append(pyarrow.array(self._class_names).take(column) if self.named(spec) else column)
        return pyarrow.RecordBatch.from_arrays(columns, self.names)


class CsvSink:
    """A CSV with a header."""

    def __init__(self, folder: Path, outputs: Sequence[TensorSpec], class_names: Sequence[str] | None) -> None:
        self._table = Table(outputs, class_names)
        self._file = GrowingFile(folder / "output.csv")
        special = any(not name or set(name) & set('",\r\n') for name in class_names or ())
        self._quoting = "needed" if special else "none"

    def encode(self, answers: Answers) -> bytes:
        from pyarrow import csv as arrow_csv

        batch = self._table.batch(answers)
        if batch.num_columns == 1 and answers.faulty is not None:
            return _lone(batch.column(0))
        content = io.BytesIO()
        options = arrow_csv.WriteOptions(include_header=False, quoting_style=self._quoting)
        arrow_csv.write_csv(batch, content, options)
        return content.getvalue()

    def begin(self, state: int | None) -> None:
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(self._table.names)
        self._file.begin(state, header.getvalue().encode())

    def write(self, encoded: bytes) -> None:
        self._file.write(encoded)

    def sync(self) -> int:
        return self._file.sync()

    def finish(self) -> Path:
        self._file.sync()
        self._file.close()
        return self._file.path


def _lone(column: Any) -> bytes:
    """A table of one column, with "" for a gap: Arrow would write a blank line, which readers take for no row."""
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([text] for text in column.cast("string").to_pylist())
    return content.getvalue().encode()


class ParquetSink:
    """A Parquet file. It cannot be appended to, so it grows in parts, which become its row groups."""

    def __init__(self, folder: Path, outputs: Sequence[TensorSpec], class_names: Sequence[str] | None) -> None:
        self._table, self._folder = Table(outputs, class_names), folder
        self._outputs = outputs
        self._parts, self._rows, self._waiting = 0, 0, []  # type: int, int, list[Any]

    def encode(self, answers: Answers) -> Any:
        return self._table.batch(answers)

    def begin(self, state: int | None) -> None:
        self._parts = state or 0
        for path in self._folder.glob("part-*.parquet"):
            if int(path.stem.removeprefix("part-")) >= self._parts:
                path.unlink()

    def write(self, encoded: Any) -> None:
        self._waiting.append(encoded)

    def sync(self) -> int:
        import pyarrow
        from pyarrow import parquet

        if self._waiting:
            part = GrowingFile(self._part(self._parts))
            part.begin(None)
            content = pyarrow.BufferOutputStream()
            parquet.write_table(pyarrow.Table.from_batches(self._waiting), content)
            part.write(content.getvalue())
            part.sync()
            part.close()
            self._parts, self._waiting = self._parts + 1, []
        return self._parts

    def finish(self) -> Path:
        from pyarrow import parquet

        self.sync()
        whole = GrowingFile(self._folder / "output.parquet")
        schema = self._schema()
        with parquet.ParquetWriter(whole.path, schema) as writer:
            for number in range(self._parts):
                writer.write_table(parquet.read_table(self._part(number), partitioning=None))
        whole.begin(whole.path.stat().st_size)
        whole.sync()
        whole.close()
        return whole.path

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:06d}.parquet"

    def _schema(self) -> Any:
        nothing = {spec.name: np.empty((0, *spec.shape), spec.dtype) for spec in self._outputs}
        return self._table.batch(Answers(nothing, None)).schema
