"""CSV: cut at line ends by one thread, turned into numbers by Arrow in many.

A row is a line: a quoted field may hold delimiters and quotes, but no line end, so that a stray quote spoils one row
and not all that follow. Blank lines are no rows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from oarlock import UserError
from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.predict.columns import choose_columns
from oarlock_plugins.service.predict.rows import Parsed, checked
from oarlock_plugins.service.predict.sources import BLOCK_BYTES, TableOptions

LONGEST_LINE = 64 << 20
UNREADABLE = "it is no line of a CSV file, as with a carriage return in the middle"
# What a type is first read as, and then, since 3.0 is a whole number too.
READ_AS = {"float16": ("float32",), "float32": ("float32",), "float64": ("float64",), "bool": ("float64",),
           "int64": ("int64",), "uint64": ("uint64",)}  # fmt: skip


class CsvFile:
    """A table of text.

    Raises:
        UserError: its columns are not the model's, or its first line may be either a header or a row.
    """

    def __init__(self, path: Path, inputs: Sequence[TensorSpec], options: TableOptions) -> None:
        self._path, self.inputs, self._delimiter = path, inputs, options.delimiter
        csv.field_size_limit(LONGEST_LINE)
        self._bytes = path.stat().st_size
        with path.open("rb") as file:
            first = file.readline(LONGEST_LINE)
        if b"\r" in first.rstrip(b"\r\n"):
            raise UserError(f"--input {path}: its lines end in a carriage return alone; expected a line feed.\n"
                            f"Write it anew: tr '\\r' '\\n' < {path} > NEW.csv")  # fmt: skip
        fields = next(csv.reader([first.decode("utf-8-sig", "replace").strip("\r\n")], delimiter=options.delimiter), [])
        if not fields:
            raise UserError(f"--input {path}: its first line is blank; expected names, or the first row.")
        header = options.header
        if header is None:
            if all(map(_is_number, fields)):
                raise UserError(f"--input {path}: its first line has numbers alone ({first[:30].decode('utf-8', 'replace').strip()}…).\n"
                                "Say --no-header if it is a row, --header if these are names.")  # fmt: skip
            header = True
        self._start = len(first) if header else (3 if first.startswith(b"\xef\xbb\xbf") else 0)
        self.first_line: int | None = 1 + int(header)
        self._width = len(fields)
        self._names = [name.strip() for name in fields] if header else [str(n) for n in range(1, len(fields) + 1)]
        self._places = choose_columns(path, self._names, inputs, options.columns, options.trained if header else None)
        types = [[spec.dtype] * int(np.prod(spec.shape, dtype=int)) for spec in inputs]
        per_value = [READ_AS.get(dtype, (dtype, "float64")) for part in types for dtype in part]
        self._readings = [[kinds[min(turn, len(kinds) - 1)] for kinds in per_value]
                          for turn in range(max((len(kinds) for kinds in per_value), default=1))]  # fmt: skip

    def blocks(self, position: int) -> Iterator[tuple[bytes, int]]:
        with self._path.open("rb") as file:
            position = position or self._start
            file.seek(position)
            rest = b""
            while True:
                want = BLOCK_BYTES - len(rest)
                chunk = file.read(want)
                block, ended = rest + chunk, len(chunk) < want
                if not block:
                    return
                end = len(block) if ended else block.rfind(b"\n") + 1
                while not end:
                    more = file.read(BLOCK_BYTES)
                    block += more
                    end = len(block) if len(more) < BLOCK_BYTES else block.rfind(b"\n") + 1
                    if not end and len(block) > LONGEST_LINE:
                        raise UserError(
                            f"--input {self._path}: a line at byte {position} is longer than {LONGEST_LINE >> 20} MiB."
                        )
                rest = block[end:]
                position += end
                yield block[:end], position

    def parse(self, block: bytes) -> Parsed:
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        faults: dict[int, str] = {}
        numbers: np.ndarray | None = None
        tables = None
        if b'"' not in block and not _has_hexadecimal(block) and block.count(b"\r") == block.count(b"\r\n"):
            tables = self._read(block)
        if tables is None:
            numbers, tables, faults = self._read_lines(block)
        rows = len(numbers) if numbers is not None else len(next(iter(tables.values())))
        parsed = checked(tables, self.inputs, faults, rows, self._name)
        if parsed.faults and numbers is None:
            numbers = np.array([number for number, line in enumerate(block.split(b"\n")) if line.strip(b"\r")])
        if numbers is not None:
            parsed.line_of = {row: int(numbers[row]) for row in parsed.faults}
        parsed.lines = lines
        return parsed

    def fraction(self, position: int) -> float:
        return position / max(1, self._bytes)

    def _name(self, name: str, place: int) -> str:
        before = 0
        for spec in self.inputs:
            if spec.name == name:
                break
            before += int(np.prod(spec.shape, dtype=int))
        return self._names[self._places[before + place]]

    def _read(self, block: bytes) -> dict[str, np.ndarray] | None:
        """The numbers of lines, [rows, values] by input; None where Arrow does not read one of them."""
        import pyarrow
        from pyarrow import csv as arrow_csv

        every = [str(place) for place in range(self._width)]
        wanted = [str(place) for place in self._places]
        for kinds in self._readings:
            types = {name: pyarrow.from_numpy_dtype(np.dtype(kind)) for name, kind in zip(wanted, kinds, strict=True)}
            try:
                table = arrow_csv.read_csv(
                    pyarrow.BufferReader(block),
                    arrow_csv.ReadOptions(column_names=every, use_threads=False, block_size=len(block) + 1),
                    arrow_csv.ParseOptions(delimiter=self._delimiter),
                    arrow_csv.ConvertOptions(include_columns=list(dict.fromkeys(wanted)), column_types=types,
                                             null_values=[], check_utf8=False),
                )  # fmt: skip
            except pyarrow.ArrowInvalid:
                continue
            return self._by_input([table.column(name).to_numpy() for name in wanted])
        return None

    def _by_input(self, columns: list[np.ndarray]) -> dict[str, np.ndarray]:
        tables, start = {}, 0
        for spec in self.inputs:
            stop = start + int(np.prod(spec.shape, dtype=int))
            tables[spec.name] = np.stack(columns[start:stop], axis=1)
            start = stop
        return tables

    def _read_lines(self, block: bytes) -> tuple[np.ndarray, dict[str, np.ndarray], dict[int, str]]:
        """The same where a line is not as it should be: line numbers, the others' numbers, and what is wrong."""
        pieces = block.split(b"\n")
        numbers = [number for number, line in enumerate(pieces) if line.strip(b"\r")]
        lines = [pieces[number].rstrip(b"\r") for number in numbers]
        faults = {
            row: fault for row, line in enumerate(lines) if (fault := self._miscounted(line) or self._hexadecimal(line))
        }
        good = [row for row in range(len(lines)) if row not in faults]
        tables = self._whole(lines, good)
        if tables is None:
            # To ask Arrow for each of them would take a thousand times as long.
            faults |= {row: fault for row in good if (fault := self._no_number(lines[row]))}
            tables = self._bisect(lines, [row for row in good if row not in faults], faults)
        return np.array(numbers, dtype="int64"), tables, faults

    def _whole(self, lines: list[bytes], rows: list[int]) -> dict[str, np.ndarray] | None:
        """The numbers of some of the lines; None where Arrow does not read one of them, or not as one row."""
        found = self._read(b"\n".join(lines[row] for row in rows) + b"\n") if rows else self._nothing()
        return found if found is None or all(len(table) == len(rows) for table in found.values()) else None

    def _bisect(self, lines: list[bytes], rows: list[int], faults: dict[int, str]) -> dict[str, np.ndarray]:
        """Read the rows that Arrow reads, by halves; the others get a fault. So a number never depends on its neighbours."""
        found = self._whole(lines, rows)
        if found is not None:
            return found
        if len(rows) == 1:
            faults[rows[0]] = self._unreadable(lines[rows[0]])
            return self._nothing()
        half = len(rows) // 2
        parts = [self._bisect(lines, part, faults) for part in (rows[:half], rows[half:])]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _nothing(self) -> dict[str, np.ndarray]:
        return self._by_input([np.empty(0, kind) for kind in self._readings[0]])

    def _miscounted(self, line: bytes) -> str:
        if b'"' not in line:
            count = line.count(self._delimiter.encode()) + 1
        elif line.count(b'"') % 2:
            return "a quoted field does not end on its line"
        elif (fields := self._fields(line)) is None:
            return UNREADABLE
        else:
            count = len(fields)
        return (
            f"it has {count} {'field' if count == 1 else 'fields'}, expected {self._width}"
            if count != self._width
            else ""
        )

    def _hexadecimal(self, line: bytes) -> str:
        """Arrow reads 0x1 as an integer and not as a float; it is a fault in either column."""
        if not _has_hexadecimal(line):
            return ""
        fields = self._fields(line)
        if fields is None:
            return UNREADABLE
        return self._unreadable(line) if any(_has_hexadecimal(fields[place].encode()) for place in self._places) else ""

    def _unreadable(self, line: bytes) -> str:
        return self._no_number(line) or "its fields are not numbers"

    def _no_number(self, line: bytes) -> str:
        """Which field of a line is no number; '' where all are."""
        fields = self._fields(line)
        if fields is None:
            return UNREADABLE
        for place in self._places:
            if place < len(fields) and not _is_number(fields[place]):
                text = fields[place].strip()
                return (
                    f"{self._names[place]}: {text[:40]!r} is not a number" if text else f"{self._names[place]}: missing"
                )
        return ""

    def _fields(self, line: bytes) -> list[str] | None:
        """The fields of a line; None where it is none of CSV's."""
        text = line.decode("utf-8", "replace").replace("\x00", "\\0")
        try:
            return next(csv.reader([text], delimiter=self._delimiter), [])
        except csv.Error:
            return None


def _has_hexadecimal(text: bytes) -> bool:
    return b"0x" in text or b"0X" in text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
