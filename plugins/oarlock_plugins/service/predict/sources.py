"""Files of rows: which kinds there are, and what all of them can do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from oarlock import UserError, nearest
from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.predict.rows import Parsed

BLOCK_BYTES = 2 << 20
SUFFIXES = (".npy", ".npz", ".csv", ".parquet")


@dataclass(frozen=True)
class TableOptions:
    """How a table is read.

    Attributes:
        columns: which columns are the model's inputs, in order; `A..B` stands for all from A to B; None to find out.
        header: whether a CSV's first line has names; None to find out.
        delimiter: between the fields of a CSV.
        trained: the columns that the model was trained on, in its order; None where they had no names.
    """

    columns: tuple[str, ...] | None = None
    header: bool | None = None
    delimiter: str = ","
    trained: tuple[str, ...] | None = None


class Source(Protocol):
    """A file of rows. It is cut into blocks by one thread, in order; many threads parse them.

    Attributes:
        first_line: the line of the first row, in a file that has lines.
        inputs: what the model takes, with the file's lengths where any will do.
    """

    first_line: int | None
    inputs: Sequence[TensorSpec]

    def blocks(self, position: int) -> Iterator[tuple[Any, int]]:
        """What is left from a position on, as blocks with the position behind each; 0 is the beginning."""

    def parse(self, block: Any) -> Parsed:
        """The rows of a block; may be called by several threads."""

    def fraction(self, position: int) -> float:
        """How much of the file lies before a position."""


def open_source(path: Path, inputs: Sequence[TensorSpec], options: TableOptions) -> Source:
    """A file, by its suffix.

    Raises:
        UserError: it is not there, of another kind, or not what the model takes.
    """
    if not path.is_file():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"--input {path}: there is no such file. {nearest(path.name, beside) if beside else ''}".rstrip()
        )
    try:
        if path.suffix in (".npy", ".npz"):
            from oarlock_plugins.service.predict.array_files import ArrayFile

            return ArrayFile(path, inputs)
        if path.suffix == ".csv":
            from oarlock_plugins.service.predict.csv_files import CsvFile

            return CsvFile(path, inputs, options)
        if path.suffix == ".parquet":
            from oarlock_plugins.service.predict.parquet_files import ParquetFile

            return ParquetFile(path, inputs, options)
    except OSError as error:
        raise UserError(f"--input {path}: cannot be read: {error.strerror or error}.") from error
    raise UserError(f"--input {path}: expected a file of {', '.join(SUFFIXES)}.")
