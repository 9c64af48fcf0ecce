"""`oarlock predict`: whatever the files, an answer for each row, in order, and a reason where there is none."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock import UserError
from oarlock.cli import main
from oarlock_plugins.service.bundle import TensorSpec, open_bundle
from oarlock_plugins.service.engines import open_engine
from oarlock_plugins.service.predict.answers import Answers
from oarlock_plugins.service.predict.journal import Journal
from oarlock_plugins.service.predict.sources import TableOptions, open_source
from oarlock_plugins.service.predict.table_sinks import CsvSink
from tests.conftest import environment
from tests.plugins.damage import damaged
from tests.plugins.service.server.bundles import publish_same, publish_sums

NAMES = [f"pixel{place}" for place in range(64)]
HEADER = ",".join(NAMES)


def write(path, rows):
    """The digits as a file of the path's kind."""
    flat = rows.reshape(len(rows), -1)
    if path.suffix == ".npy":
        np.save(path, rows)
    elif path.suffix == ".npz":
        np.savez_compressed(path, inputs=flat)
    elif path.suffix == ".csv":
        path.write_text("\n".join([HEADER, *(",".join(map(str, row)) for row in flat)]) + "\n")
    elif path.name.startswith("lists"):
        pyarrow.parquet.write_table(pyarrow.table({"id": range(len(rows)), "inputs": list(flat)}), path)
    else:
        columns = {name: flat[:, place].astype("float64") for place, name in enumerate(NAMES)}
        pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=100)


def read(path):
    """The answers in a file: class numbers and probabilities, None and NaN where there are none."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return [*arrays["class"]], arrays["probabilities"]
    table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pyarrow.parquet.read_table(path)
    assert table.column_names == ["class", *(f"probabilities_{place}" for place in range(10))]
    numbers = [int(name) if name not in (None, "") else None for name in table.column("class").to_pylist()]
    return numbers, np.stack([column.to_numpy() for column in table.columns[1:]], 1)


@pytest.mark.parametrize(
    ("source", "target"),
    [("rows.npy", "out.csv"), ("rows.npz", "out.npz"), ("rows.csv", "out.parquet"), ("rows.parquet", "out.npz"),
     ("lists.parquet", "out.csv")],
)  # fmt: skip
def test_every_kind_of_file(exported, digits, answers, oarlock, tmp_path, source, target):
    write(tmp_path / source, digits)
    done = oarlock("predict", exported, "--input", source, "--output", target)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{target}: 360 rows\n", "")
    classes, probabilities = read(tmp_path / target)
    assert classes == [*answers["class"]]
    np.testing.assert_allclose(probabilities, answers["probabilities"], atol=1e-7)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".fork")) == sorted(
        [source, target]
    )


def test_files_one_after_the_other_and_chosen_outputs(exported, digits, answers, oarlock, tmp_path):
    write(tmp_path / "b.npy", digits[:7])
    write(tmp_path / "a.csv", digits[7:20])
    done = oarlock("predict", exported, "--input", "b.npy", "a.csv", "--output", "o.npy", "--outputs", "class",
                   "--engine", "paddle", "--workers", "3")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [*np.load(tmp_path / "o.npy", allow_pickle=False)] == [*answers["class"][:20]]


def test_columns_are_chosen(exported, digits, answers, oarlock, tmp_path):
    flat = digits[:5].reshape(5, -1)
    lines = [f"{row};{';'.join(map(str, values))};'x'" for row, values in enumerate(flat)]
    (tmp_path / "in.csv").write_text("\n".join([f"id;{HEADER.replace(',', ';')};note", *lines]))
    line = ["predict", exported, "--input", "in.csv", "--output", "out.csv", "--delimiter", ";"]
    refused = oarlock(*line)
    assert refused.returncode == 2
    assert "in.csv has 66 columns; the model takes 64 numbers (inputs [8, 8])" in refused.stderr
    assert "has no column pixel64. Did you mean 'pixel6'" in oarlock(*line, "--columns", "pixel0..pixel64").stderr
    backwards = oarlock(*line, "--columns", "pixel9..pixel2").stderr
    assert "pixel2 stands before pixel9 in in.csv; write pixel2..pixel9." in backwards
    done = oarlock(*line, "--columns", "pixel0..pixel62,pixel63")
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "out.csv")[0] == [*answers["class"][:5]]


NAMED = 'a,"b, 1", c,kind\n'


@pytest.fixture(scope="module")
def named(tmp_path_factory, forks):
    """A bundle of a model that was trained on a table whose columns have names."""
    folder = tmp_path_factory.mktemp("named")
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{c:.3f},{'in' if b > 0 else 'out'}" for a, b, c in rng.normal(0, 1, (120, 3))]
    (folder / "rows.csv").write_text(NAMED + "\n".join(rows) + "\n")
    for line in ("train data=csv data.path=rows.csv data.target=kind callback=[] trainer.epochs=4 trainer.batch_size=16 "
                 "hydra.run.dir=run", "export run --to bundle"):  # fmt: skip
        done = forks.run(["oarlock", *line.split()], folder, environment({}), 120)
        assert done.returncode == 0, done.stderr
    return folder


def test_columns_are_those_that_the_model_was_trained_on(named, oarlock, tmp_path):
    """By name, in whatever order and beside whatever else they stand."""
    with (named / "rows.csv").open(newline="") as file:
        table = [
            {name.strip(): text for name, text in row.items()} for row in csv.DictReader(file, skipinitialspace=True)
        ]
    orders = {"same": ["a", "b, 1", "c"], "other": ["c", "kind", "a", "b, 1"]}
    for name, columns in orders.items():
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *([row[column] for column in columns] for row in table)])
        arrow = {
            column: [row[column] if column == "kind" else float(row[column]) for row in table] for column in columns
        }
        pyarrow.parquet.write_table(pyarrow.table(arrow), tmp_path / f"{name}.parquet")
    found = []
    for source in (*(tmp_path / f"{name}{suffix}" for name in orders for suffix in (".csv", ".parquet")),
                   named / "rows.csv"):  # fmt: skip
        target = f"out-{source.name}.csv"
        done = oarlock("predict", named / "bundle", "--input", source, "--output", target)
        assert (done.returncode, done.stderr) == (0, "")
        found.append((tmp_path / target).read_text())
    assert len(set(found)) == 1
    answers = [row["class"] for row in csv.DictReader(found[0].splitlines())]
    assert np.mean([answer == row["kind"] for answer, row in zip(answers, table, strict=True)]) > 0.8


def test_columns_with_other_names_are_named_on_the_command_line(named, oarlock, tmp_path):
    (tmp_path / "in.csv").write_text('x,"b, 1",z\n1,2,3\n')
    line = ["predict", named / "bundle", "--input", "in.csv", "--output", "out.csv"]
    assert oarlock(*line).stderr.splitlines() == [
        'error: --input in.csv: it has no column a, which the model was trained on. Valid: "b, 1", x, z.',
        "Say which columns take their places with --columns A,B,C.",
    ]
    assert 'has no column b. Valid: "b, 1", x, z.' in oarlock(*line, "--columns", "x,b,z").stderr
    assert not list(tmp_path.glob(".*"))
    done = oarlock(*line, "--columns", 'x, "b, 1", z')
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mistake_leaves_nothing_in_the_way_of_the_next_try(named, oarlock, tmp_path):
    (tmp_path / "in.csv").write_text('a,"b, 1",c\n1,2,3\n')
    line = ["predict", named / "bundle", "--input", "in.csv"]
    for wrong in (["--output", "out.csv", "--engine", "padle"], ["--output", "out.tsv"]):
        assert oarlock(*line, *wrong).returncode == 2
        assert not list(tmp_path.glob(".*"))
    assert oarlock(*line, "--output", "out.csv").returncode == 0


def test_files_without_a_sound_row(named, oarlock, tmp_path):
    (tmp_path / "in.csv").write_text('a,"b, 1",c\n1,2\nx,y,z\n')
    pyarrow.parquet.write_table(pyarrow.table({name: pyarrow.array([None, None], "float64") for name in ("a", "b, 1", "c")}),
                                tmp_path / "in.parquet")  # fmt: skip
    np.save(tmp_path / "in.npy", np.full((2, 3), np.nan, "float32"))
    for source in ("in.csv", "in.parquet", "in.npy"):
        done = oarlock("predict", named / "bundle", "--input", source, "--output", f"{source}.csv")
        assert (done.returncode, done.stdout) == (1, f"{source}.csv: 2 rows\n")
        assert done.stderr == f"error: 2 of 2 rows have no answer; {source}.csv.errors.csv says why\n"
        assert (tmp_path / f"{source}.csv").read_text().splitlines()[1:] == [",,"] * 2


def test_lines_that_end_as_they_once_did(named, oarlock, tmp_path):
    (tmp_path / "in.csv").write_bytes(b'a,"b, 1",c\r1,2,3\r')
    done = oarlock("predict", named / "bundle", "--input", "in.csv", "--output", "out.csv")
    assert (done.returncode, done.stderr.splitlines()) == (2, [
        "error: --input in.csv: its lines end in a carriage return alone; expected a line feed.",
        "Write it anew: tr '\\r' '\\n' < in.csv > NEW.csv",
    ])  # fmt: skip


def test_faulty_rows_stop_nobody(exported, digits, answers, oarlock, tmp_path):
    flat = [[*map(str, row)] for row in digits[:12].reshape(12, -1)]
    flat[1][3], flat[3][0], flat[4][63], flat[6][5], flat[9][9] = "abc", "", "nan", "300", "1.5"
    lines = [",".join(row) for row in flat]
    lines[7] += ",1"
    lines[8] = '"1,' + lines[8]
    lines[10] = lines[10].replace("0", '"0.0"', 1)  # a whole number all the same
    lines.insert(2, "")
    (tmp_path / "in.csv").write_text("\r\n".join([HEADER, *lines]))
    done = oarlock("predict", exported, "--input", "in.csv", "--output", "out.csv")
    assert done.returncode == 1
    assert done.stdout == "out.csv: 12 rows\n"
    assert done.stderr == "error: 7 of 12 rows have no answer; out.csv.errors.csv says why\n"
    with (tmp_path / "out.csv.errors.csv").open() as file:
        assert [*csv.reader(file)] == [
            ["file", "row", "reason"],
            ["in.csv", "2", "line 3: pixel3: 'abc' is not a number"],
            ["in.csv", "4", "line 6: pixel0: missing"],
            ["in.csv", "5", "line 7: pixel63: nan is not a whole number from 0 to 255"],
            ["in.csv", "7", "line 9: pixel5: 300.0 is not a whole number from 0 to 255"],
            ["in.csv", "8", "line 10: it has 65 fields, expected 64"],
            ["in.csv", "9", "line 11: a quoted field does not end on its line"],
            ["in.csv", "10", "line 12: pixel9: 1.5 is not a whole number from 0 to 255"],
        ]
    classes, probabilities = read(tmp_path / "out.csv")
    sound = [0, 2, 5, 10, 11]
    assert [row for row, number in enumerate(classes) if number is not None] == sound
    assert [classes[row] for row in sound] == [*answers["class"][sound]]
    np.testing.assert_allclose(probabilities[sound], answers["probabilities"][sound], atol=1e-6)
    assert np.isnan(probabilities[[row for row in range(12) if row not in sound]]).all()


def test_a_signal_while_the_output_is_put_together_does_not_cut_it(
    exported, digits, answers, tmp_path, monkeypatch, capsys
):
    """All rows are answered by then; and the file is on the disk before its parts are gone."""
    monkeypatch.chdir(tmp_path)
    np.save("in.npy", digits[:5])
    finish, fsync, synced = Journal.finish, os.fsync, set()

    def interrupted(journal):
        os.kill(os.getpid(), signal.SIGINT)
        finish(journal)

    def noted(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(Journal, "finish", interrupted)
    monkeypatch.setattr(os, "fsync", noted)
    assert main(["predict", str(exported), "--input", "in.npy", "--output", "out.npz"]) == 0
    assert capsys.readouterr().out == "out.npz: 5 rows\n"
    assert read(tmp_path / "out.npz")[0] == [*answers["class"][:5]]
    assert (tmp_path / "out.npz").stat().st_ino in synced


def test_a_line_that_is_none_of_csv_is_a_fault_of_its_row(exported, digits, answers, oarlock, tmp_path):
    lines = [",".join(map(str, row)) for row in digits[:4].reshape(4, -1)]
    lines[1] = lines[1].replace(",", "\r,", 1)
    lines[2] = lines[2].replace(",", f',"{"1" * 200_000}",', 1)
    (tmp_path / "in.csv").write_bytes("\n".join([HEADER, *lines]).encode())
    done = oarlock("predict", exported, "--input", "in.csv", "--output", "out.csv")
    assert (done.returncode, done.stdout) == (1, "out.csv: 4 rows\n")
    with (tmp_path / "out.csv.errors.csv").open() as file:
        assert [*csv.reader(file)][1:] == [
            ["in.csv", "2", "line 3: it is no line of a CSV file, as with a carriage return in the middle"],
            ["in.csv", "3", "line 4: it has 65 fields, expected 64"],
        ]
    classes, _ = read(tmp_path / "out.csv")
    assert [classes[row] for row in (0, 3)] == [*answers["class"][[0, 3]]]


def test_a_table_is_refused_for_a_model_of_any_length(each_step, oarlock, tmp_path):
    run, env = each_step
    (tmp_path / "in.csv").write_text("inputs\n1\n")
    pyarrow.parquet.write_table(pyarrow.table({"inputs": [[1.0, 2.0], [3.0, 4.0]]}), tmp_path / "in.parquet")
    for name in ("in.csv", "in.parquet"):
        done = oarlock("predict", run.parent / "bundle", "--input", name, "--output", "out.npz", env=env)
        assert (done.returncode, done.stderr) == (
            2, f"error: --input {name}: the model's inputs may have any length; a table cannot hold that.\n"
            "Give .npy or .npz files.\n")  # fmt: skip


def test_faulty_rows_of_arrays_and_of_parquet(exported, digits, answers, oarlock, tmp_path):
    rows = digits[:6].astype("float64")
    rows[2, 1, 1] = np.inf
    np.save(tmp_path / "in.npy", rows)
    lists = [row.ravel().tolist() for row in digits[:6]]
    lists[0], lists[1], lists[3][5] = None, lists[1][:-1], None
    pyarrow.parquet.write_table(pyarrow.table({"inputs": lists}), tmp_path / "in.parquet")
    done = oarlock("predict", exported, "--input", "in.npy", "in.parquet", "--output", "out.npz")
    assert done.returncode == 1
    with (tmp_path / "out.npz.errors.csv").open() as file:
        assert [*csv.reader(file)][1:] == [
            ["in.npy", "3", "inputs[9]: inf is not a whole number from 0 to 255"],
            ["in.parquet", "1", "inputs: missing"],
            ["in.parquet", "2", "inputs: it has 63 values, expected 64"],
            ["in.parquet", "4", "inputs: a value is missing"],
        ]
    classes, probabilities = read(tmp_path / "out.npz")
    assert classes == [-1 if row in (2, 6, 7, 9) else answers["class"][row % 6] for row in range(12)]
    assert np.flatnonzero(np.isnan(probabilities).all(axis=1)).tolist() == [2, 6, 7, 9]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_float_that_is_no_whole_number_of_the_type_is_a_fault(oarlock, tmp_path, dtype):
    publish_sums(tmp_path / "models")
    beyond = np.inf if dtype == "float16" else 2.0**31  # which as float32 is the largest int32 too
    counts = np.array([[1, 2], [beyond, 2], [-3, 4], [1.5, 0]], dtype)
    np.savez(tmp_path / "in.npz", counts=counts, bias=np.zeros((4, 1)))
    done = oarlock("predict", "models/sums/1", "--input", "in.npz", "--output", "out.npz")
    assert (done.returncode, done.stderr) == (1, "error: 2 of 4 rows have no answer; out.npz.errors.csv says why\n")
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["sum"].ravel(), [3, np.nan, 1, np.nan])


def test_a_large_whole_number_does_not_depend_on_the_types_of_other_columns(oarlock, tmp_path):
    publish_same(tmp_path / "models", "int64", 3)
    large = 2**53 + 1
    table = {
        "ids_0": [large, None, 3, 4],
        "ids_1": [1.0, 2.0, 2.5, None],
        "ids_2": pyarrow.array([1, 2, 3, 4], "uint64"),
    }
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "in.parquet")
    done = oarlock("predict", "models/same/1", "--input", "in.parquet", "--output", "out.npy")
    assert done.returncode == 1, done.stderr
    assert np.load(tmp_path / "out.npy").tolist() == [[large, 1, 1], *[[-1, -1, -1]] * 3]
    reasons = [line.split(",", 2)[2] for line in (tmp_path / "out.npy.errors.csv").read_text().splitlines()[1:]]
    assert [reason[:20] for reason in reasons] == ["ids_0: missing", "ids_1: 2.5 is not a ", "ids_1: missing"]


def test_a_gap_in_a_lone_column_is_a_row(exported, digits, answers, oarlock, tmp_path):
    rows = digits[:4].astype("float64")
    rows[1, 0, 0] = np.nan
    np.save(tmp_path / "in.npy", rows)
    line = ["predict", exported, "--input", "in.npy", "--outputs", "class", "--output", "out.csv"]
    assert oarlock(*line).returncode == 1
    wanted = [None if row == 1 else answers["class"][row] for row in range(4)]
    with (tmp_path / "out.csv").open() as file:
        assert [*csv.reader(file)] == [["class"], *(["" if one is None else str(one)] for one in wanted)]
    assert pyarrow.csv.read_csv(tmp_path / "out.csv").column("class").to_pylist() == wanted


def test_rows_of_any_length(each_step, oarlock, tmp_path):
    bundle = each_step[0].parent / "bundle"
    rows = np.random.default_rng(1).normal(size=(4, 9, 4)).astype("float32")
    np.save(tmp_path / "nine.npy", rows)
    np.save(tmp_path / "six.npy", rows[:, :6])
    wanted = open_engine(open_bundle(bundle))({"inputs": rows})["output"]
    line = ["predict", bundle, "--input", "nine.npy"]
    for target in ("out.npy", "out.npz", "out.csv"):
        assert oarlock(*line, "--output", target).stdout == f"{target}: 4 rows\n"
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["output"], wanted)
    assert pyarrow.csv.read_csv(tmp_path / "out.csv").column_names == [f"output_{place}" for place in range(9)]
    done = oarlock(*line, "six.npy", "--output", "both.npy")
    assert (done.returncode, done.stderr.splitlines()) == (2, [
        "error: --input nine.npy six.npy: the model gives output [9] and output [6]; a file of answers holds one shape.",
        "Predict each into a file of its own.",
    ])  # fmt: skip


def test_a_class_without_a_name_is_a_row(tmp_path):
    sink = CsvSink(tmp_path, [TensorSpec("class", "int64", ())], ["", "b"])
    sink.begin(None)
    sink.write(sink.encode(Answers({"class": np.array([1, 0, 1])}, None)))
    with sink.finish().open() as file:
        assert [*csv.reader(file)] == [["class"], ["b"], [""], ["b"]]


def test_class_names_and_no_rows(bundle, digits, oarlock, tmp_path):
    """Names with commas and quotes come back as they were, also when the bundle was made by somebody else."""
    values = json.loads((bundle / "bundle.json").read_text())
    values["class_names"] = ['a, "b"', *values["class_names"][1:]]
    (bundle / "bundle.json").write_text(json.dumps(values))
    (bundle / "MANIFEST.json").unlink()
    from oarlock import seal

    seal(bundle, tmp_path / "named")
    write(tmp_path / "in.npy", digits)
    (tmp_path / "none.csv").write_text(HEADER)
    done = oarlock("predict", "named", "--input", "in.npy", "none.csv", "--output", "out.csv")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open() as file:
        rows = [*csv.reader(file)]
    assert rows[0][1] == 'probabilities_a, "b"'
    assert 'a, "b"' in {row[0] for row in rows[1:]}
    for target in ("none.npz", "none.parquet"):
        assert oarlock("predict", "named", "--input", "none.csv", "--output", target).stdout == f"{target}: 0 rows\n"
    assert pyarrow.parquet.read_table(tmp_path / "none.parquet").num_rows == 0
    with np.load(tmp_path / "none.npz", allow_pickle=False) as arrays:
        assert arrays["probabilities"].shape == (0, 10)


def mistakes(tmp_path, digits):
    write(tmp_path / "in.npy", digits[:3])
    np.save(tmp_path / "wide.npy", np.zeros((3, 65)))
    np.save(tmp_path / "words.npy", np.array([["a"] * 64]))
    np.save(tmp_path / "columns.npy", np.asfortranarray(np.zeros((3, 64))))
    np.savez(tmp_path / "other.npz", a=digits, b=digits)
    (tmp_path / "short.npy").write_bytes((tmp_path / "in.npy").read_bytes()[:-1])
    (tmp_path / "no.npz").write_bytes(b"PK")
    (tmp_path / "no.parquet").write_bytes(b"PAR1")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "bare.csv").write_text(",".join(["1"] * 64) + "\n")
    (tmp_path / "taken.csv").write_text("")
    pyarrow.parquet.write_table(pyarrow.table({name: ["a"] for name in NAMES}), tmp_path / "text.parquet")
    array = (tmp_path / "in.npy").read_bytes()
    (tmp_path / "header.npy").write_bytes(array.replace(b"8, 8)", b"8, 8x"))
    (tmp_path / "minus.npy").write_bytes(array.replace(b"(3, ", b"(-3,"))
    (tmp_path / "spans.npy").write_bytes(array.replace(b"|u1", b"<m8"))
    write(tmp_path / "rows.npz", digits[:3])
    (tmp_path / "magic.npz").write_bytes(b"Q" + (tmp_path / "rows.npz").read_bytes()[1:])
    write(tmp_path / "rows.parquet", digits[:3])
    table = bytearray((tmp_path / "rows.parquet").read_bytes())
    table[4:40] = bytes(36)
    (tmp_path / "page.parquet").write_bytes(table)
    doubled = pyarrow.Table.from_arrays([pyarrow.array([1.0])] * 64, [*NAMES[:-1], "pixel0"])
    pyarrow.parquet.write_table(doubled, tmp_path / "doubled.parquet")


MISTAKES = {
    "in.np": "in.np: there is no such file. Did you mean 'in.npy'?",
    "wide.npy": "inputs has the shape [3, 65]; expected [rows, 8, 8].",
    "words.npy": "its values are of type <U1; expected uint8.",
    "columns.npy": "stored column by column",
    "other.npz": "it has no array inputs; it has a, b.",
    "short.npy": "it ends 1 bytes too early.",
    "no.npz": "not a .npz file",
    "no.parquet": "not a Parquet file",
    "text.parquet": "the column pixel0 is string; expected numbers.",
    "doubled.parquet": "two columns are called pixel0.",
    "header.npy": "header.npy: not an array of NumPy: EOF in multi-line statement.",
    "minus.npy": "inputs has the shape [-3, 8, 8]; expected [rows, 8, 8].",
    "spans.npy": "its values are of type timedelta64; expected uint8.",
    "magic.npz": "magic.npz: its array inputs cannot be read: Bad magic number for file header.",
    "page.parquet --output page.csv": "--input page.parquet: it is damaged: ",
    "empty.csv": "its first line is blank",
    "bare.csv": "Say --no-header if it is a row, --header if these are names.",
    "in.npy --output out.txt": "--output out.txt: expected a file of .npy, .npz, .csv, .parquet.",
    "in.npy --output out.npy": "Choose one with --outputs probabilities, or name a .npz.",
    "in.npy --output taken.csv": "taken.csv exists already.",
    "in.npy --output no/out.csv": "there is no such folder",
    "in.npy --outputs classes": "the model gives no classes. Did you mean 'class'?",
    "rows.parquet --columns ": "rows.parquet: --columns names 0 columns; the model takes 64 numbers (inputs [8, 8]).",
    "in.npy --engine onnx": "Did you mean 'onnxruntime'?",
    "in.npy --workers 0": "expected at least 1",
    "in.npy --delimiter ab": "expected one character",
}


def test_mistakes(exported, digits, ask, tmp_path):
    mistakes(tmp_path, digits)
    lines = [f"predict {exported} --output out.csv --input {line}" for line in MISTAKES]
    lines = [
        line.replace("--input ", f"--input {tmp_path}/").replace("--output ", f"--output {tmp_path}/") for line in lines
    ]
    for line, answer, said in zip(lines, ask({}, *lines), MISTAKES.values(), strict=True):
        assert answer.code == 2, (line, answer)
        assert said in answer.err.replace(f"{tmp_path}/", ""), (line, answer.err)
        assert len(answer.err.splitlines()) <= 3
        assert not answer.paddle
    assert not (tmp_path / "out.csv").exists()


@settings(max_examples=200, deadline=None)
@given(data=st.data(), name=st.sampled_from(["in.npy", "in.npz", "in.parquet", "lists.parquet"]))
def test_a_damaged_file_never_ends_in_a_traceback(data, name, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / name
    write(path, np.arange(192, dtype="uint8").reshape(3, 8, 8))
    path.write_bytes(damaged(data, path.read_bytes()))
    try:
        source = open_source(path, [TensorSpec("inputs", "uint8", (8, 8))], TableOptions())
        for block, _ in source.blocks(0):
            source.parse(block)
    except UserError as error:
        refused = str(error)
    else:
        return
    assert str(path) in refused


def test_a_header_or_none(exported, digits, answers, oarlock, tmp_path):
    line = ",".join(map(str, digits[0].ravel()))
    (tmp_path / "in.csv").write_text(f"{line}\n{line}\n")
    for flag, rows in (("--no-header", 2), ("--header", 1)):
        done = oarlock("predict", exported, "--input", "in.csv", "--output", f"out{flag}.csv", flag)
        assert done.returncode == 0, done.stderr
        assert read(tmp_path / f"out{flag}.csv")[0] == [answers["class"][0]] * rows


def test_a_bundle_that_is_none_or_damaged(bundle, digits, oarlock, tmp_path):
    write(tmp_path / "in.npy", digits[:3])
    done = oarlock("predict", ".", "--input", "in.npy", "--output", "out.csv")
    assert (done.returncode, done.stderr) == (
        2, "error: .: not a bundle (it has no bundle.json).\nThe newest in it is bundle.\n"
    )  # fmt: skip
    (bundle / "model.onnx").write_bytes(b"")
    done = oarlock("predict", "bundle", "--input", "in.npy", "--output", "out.csv")
    assert done.returncode == 2
    assert "bundle is not to be trusted: bundle: model.onnx is damaged." in done.stderr
    shutil.rmtree(bundle)


def test_without_pyarrow_arrays_work(exported, digits, tmp_path):
    write(tmp_path / "in.npy", digits[:3])
    code = "import sys; sys.modules['pyarrow'] = None; from oarlock.cli import main\nsys.exit(main(sys.argv[1:]))"
    results = [
        subprocess.run([sys.executable, "-c", code, "predict", exported, "--input", "in.npy", "--output", target],
                       env=environment(), capture_output=True, text=True, cwd=tmp_path, timeout=60)
        for target in ("out.csv", "out.npz")
    ]  # fmt: skip
    assert results[0].stderr == "error: Tables need pyarrow, which is not installed.\npip install 'oarlock[predict]'\n"
    assert [done.returncode for done in results] == [2, 0]
