"""Tables in CSV files: a header, then rows of as many fields."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Any

from oarlock import UserError, nearest, warn
from oarlock_plugins.data.no_rows import NoRows


@dataclass
class Table:
    """The columns of a file as texts.

    Attributes:
        name: the file as it was typed, for errors.
        columns: by name, in the file's order.
        lines: in which line each row ends.
    """

    name: str
    columns: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        return f"{self.name}, line {self.lines[row]}"

    def column(self, name: str, option: str) -> list[str]:
        """The fields of a column.

        Raises:
            UserError: there is no such column; `option` is where its name was typed.
        """
        if name not in self.columns:
            raise UserError(f"{option}={name}: {self.name} has no such column. {nearest(name, self.columns)}")
        return self.columns[name]

    def numbers(self, name: str, option: str) -> Any:
        """A column as float32; the user is told where that is too coarse for it.

        Raises:
            UserError: a field is not a finite number; it names the line.
        """
        import numpy as np

        texts = self.column(name, option)
        try:
            values = np.array(texts, "float64")
        except ValueError:
            values = np.array([_number(text) for text in texts])
        with np.errstate(over="ignore"):
            single = values.astype("float32")
        if not np.isfinite(single).all():
            row = int(np.argmin(np.isfinite(single)))
            raise UserError(f"{self.where(row)}: {name} is '{texts[row]}'; expected a finite number.")
        merged = _merged(values, single)
        if merged is not None:
            one, other = (texts[row] for row in merged)
            warn(
                f"{self.name}: in single precision {one} and {other} of {name} are the same; subtract an offset from it before"
            )
        return single


def read_table(path, delimiter, option):
    """The table in a file.

    Raises:
        UserError: there is no such file, it is no text, has no rows, or a row has more or fewer fields than the header.
    """
    name = f"{option}={path}"
    columns: list[list[str]] = []
    lines: list[int] = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [column.strip() for column in next(reader, [])]
            columns = [[] for _ in header]
            for fields in reader:
                if not fields:
                    continue  # a blank line
                if len(fields) != len(header):
                    raise UserError(f"{name}, line {reader.line_num}: the header has {len(header)} columns, this row "
                                    f"has {len(fields)}.")  # fmt: skip
                lines.append(reader.line_num)
                for column, text in zip(columns, fields, strict=True):
                    column.append(text.strip())
    except FileNotFoundError as error:
        raise UserError(f"{name}: there is no such file.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name}: not a readable CSV file: {error}.") from error
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise UserError(f"{name}: two columns are called '{twice[0]}'.")
    if not lines:
        raise NoRows(f"{name}: it has no rows below its header.")
    return Table(name, dict(zip(header, columns, strict=True)), lines)


def _merged(values, single):
    """The rows of two different values that are one in `single`; None where it is fine enough for the column."""
    import numpy as np

    if np.abs(values - single).max() <= 0.01 * values.std():
        return None
    different, rows = np.unique(values, return_index=True)
    places = np.flatnonzero(np.diff(different.astype("float32")) == 0)
    return rows[places[0] : places[0] + 2] if len(places) else None


def _number(text):
    try:
        return float(text)
    except ValueError:
        return float("nan")
