"""CSV as Python reads it, row for row, however the file is cut into blocks."""

from __future__ import annotations

import csv
import math

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from oarlock_plugins.service.bundle import TensorSpec
from oarlock_plugins.service.predict import csv_files
from oarlock_plugins.service.predict.sources import TableOptions

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr) | st.integers(-99, 999).map(str)
ODD = st.sampled_from(
    ["", " ", "abc", "nan", "inf", "-1e999", "1_0", "0x1", '"2"', '" 3 "', '"4', 'é"', "1e5", " 7", "\x00", "+1"]
)
LINES = st.lists(
    st.lists(NUMBERS, min_size=2, max_size=2) | st.lists(NUMBERS | ODD, min_size=1, max_size=4), max_size=30
).map(lambda rows: [",".join(row) for row in rows])
INPUTS = {
    "float32": [TensorSpec("x", "float32", (2,))],
    "uint8": [TensorSpec("a", "uint8", ()), TensorSpec("b", "int64", ())],
}


def wanted(line, kind):
    """The numbers of a line, or None where it has a fault."""
    if line.count('"') % 2:
        return None
    fields = next(csv.reader([line.replace("\x00", "?")]))
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        return None
    if len(fields) != 2 or "_" in line or not all(map(math.isfinite, numbers)):
        return None
    if kind == "uint8":
        whole = fields[1].strip().lstrip("+-").isdigit()  # a 64-bit number is never read by way of a float
        return numbers if whole and numbers[0] in range(256) else None
    return numbers if all(math.isfinite(np.float32(number)) for number in numbers) else None


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(["0,0", "0,0x1", "0X2,0", "0x,1"], "\n", False, 1, "uint8")
@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(1, 200), st.sampled_from(sorted(INPUTS)))
def test_rows_are_those_that_python_reads(tmp_path, monkeypatch, lines, end, last, block, kind):
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", block)
    path = tmp_path / "in.csv"
    path.write_text("a,b" + end + end.join(lines) + (end if last else ""), encoding="utf-8", newline="")
    source = csv_files.CsvFile(path, INPUTS[kind], TableOptions())
    rows, found, faulty, count, position = 0, [], [], 0, 0
    for part, end_of_part in source.blocks(0):
        parsed = source.parse(part)
        columns = [
            array.reshape(len(array), max(1, array.size // max(1, len(array)))) for array in parsed.inputs.values()
        ]
        found += [[*map(float, row)] for row in np.concatenate([column.astype("float64") for column in columns], 1)]
        assert not set(parsed.sound) & set(parsed.faults)
        assert len(parsed.sound) + len(parsed.faults) == parsed.rows
        faulty += [(rows + row, count + parsed.line_of[row]) for row in parsed.faults]
        rows, count = rows + parsed.rows, count + parsed.lines
        position = end_of_part
    kept = [(place, line) for place, line in enumerate(lines) if line]
    read = [wanted(line, kind) for _, line in kept]
    exact = np.float32 if kind == "float32" else float
    assert found == [[float(exact(number)) for number in row] for row in read if row is not None]
    assert sorted(faulty) == [(row, kept[row][0]) for row, numbers in enumerate(read) if numbers is None]
    assert position in (0, path.stat().st_size)
