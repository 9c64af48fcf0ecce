"""A prediction that is killed at any moment goes on: no row is lost, none doubled, the file is the same to the bit."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from oarlock_plugins.service.predict.sources import BLOCK_BYTES
from tests.conftest import command, environment

STEPS = str(Path(__file__).parent / "small_steps.py")


@pytest.fixture
def source(digits, tmp_path):
    """A CSV of 360 rows, three of them faulty."""
    lines = [",".join(map(str, row)) for row in digits.reshape(len(digits), -1)]
    lines[7], lines[200], lines[359] = "1,2,3", lines[200].replace("0", "zero", 1), "," * 63
    (tmp_path / "in.csv").write_text("\n".join([",".join(f"p{place}" for place in range(64)), *lines]) + "\n")
    return tmp_path / "in.csv"


class Steps:
    """`oarlock predict` in small steps, in a folder."""

    def __init__(self, folder, forks, exported, source, target):
        self.folder, self.forks, self.target = folder, forks, folder / target
        self.line = ["python", STEPS, "predict", str(exported), "--input", source.name, "--output", target]
        self.errors = folder / f"{target}.errors.csv"

    def run(self, block=8000, **env):
        return self.forks.run(self.line, self.folder, environment({"BLOCK_BYTES": str(block), **env}), 120)

    def start(self, block=1500):
        outputs = [self.folder / "out", self.folder / "err"]
        for output in outputs:
            output.write_text("")
        return self.forks.start(self.line, self.folder, environment({"BLOCK_BYTES": str(block)}), *outputs)

    def rows(self):
        """How many rows are saved."""
        try:
            journal = self.folder / f".{self.target.name}.partial" / "journal.json"
            return json.loads(journal.read_text())["progress"]["total"]
        except FileNotFoundError:
            return -1

    def wait_for(self, rows):
        deadline = time.monotonic() + 60
        while self.rows() < rows:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def content(self):
        """The output and the errors, and nothing else is left."""
        assert list(self.folder.glob(".*.partial")) == []
        return self.target.read_bytes(), self.errors.read_bytes()

    def forget(self):
        self.target.unlink()
        self.errors.unlink()


@pytest.fixture
def steps(tmp_path, forks, exported, source):
    return lambda target="out.csv": Steps(tmp_path, forks, exported, source, target)


def killed_at(steps, moments):
    """Whether a process that dies at each of the moments, and then one that does not, leave what one alone leaves."""
    done = steps.run(COUNT="1")
    assert done.returncode == 1, done.stderr
    whole, count = steps.content(), int(done.stderr.splitlines()[-1])
    for moment in moments(count):
        steps.forget()
        assert steps.run(DIE_AT=str(moment)).returncode == -signal.SIGKILL
        last = steps.run()
        assert "have no answer" in last.stderr, (moment, count, last.stderr)
        assert steps.content() == whole, moment
    return count > 20


def test_killed_at_some_moments(steps):
    assert killed_at(steps(), lambda count: [count // 2, count - 7, count - 6, count - 2])


@pytest.mark.soak
@pytest.mark.parametrize("target", ["out.csv", "out.parquet", "out.npz"])
def test_killed_at_every_moment(steps, target):
    assert killed_at(steps(target), range)


def test_an_output_that_was_taken_away_while_it_cleared_up(steps):
    steps = steps()
    count = int(steps.run(COUNT="1").stderr.splitlines()[-1])
    steps.forget()
    assert steps.run(DIE_AT=str(count - 1)).returncode == -signal.SIGKILL
    steps.forget()
    refused = steps.run()
    assert refused.returncode == 2
    assert (
        "out.csv was finished before, and is gone since then.\nRemove .out.csv.partial to begin anew" in refused.stderr
    )


@pytest.mark.parametrize(
    "target",
    ["out.csv", pytest.param("out.parquet", marks=pytest.mark.long), pytest.param("out.npz", marks=pytest.mark.long)],
)
def test_killed_from_outside_again_and_again(steps, target):
    steps, rng = steps(target), random.Random(target)
    for least in sorted(rng.sample(range(1, 300), 2)):
        child = steps.start()
        steps.wait_for(least)
        os.kill(child, signal.SIGKILL)
        steps.forks.wait(child, 60)
        assert not steps.target.exists()
        saved = steps.rows()
    child = steps.start()
    assert steps.forks.wait(child, 60) == 1
    assert f"going on behind row {saved}\n" in (steps.folder / "err").read_text()
    again = steps.content()
    steps.forget()
    assert steps.forks.wait(steps.start(), 60) == 1
    if target != "out.parquet":  # whose row groups are what was saved at once
        assert steps.content() == again
    assert count_rows(steps.target) == 360
    with steps.errors.open() as file:
        assert [row[1] for row in csv.reader(file)] == ["row", "8", "201", "360"]


def count_rows(path):
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return len(arrays["class"])
    return (pyarrow.csv.read_csv if path.suffix == ".csv" else pyarrow.parquet.read_table)(path).num_rows


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_the_same_command_goes_on(steps, number):
    steps = steps()
    child = steps.start()
    steps.wait_for(1)
    os.kill(child, number)
    assert steps.forks.wait(child, 60) == 75
    said = (steps.folder / "err").read_text()
    assert f"stopped by {number.name}, saved behind row {steps.rows()}; the same command goes on\n" in said
    assert steps.run().returncode == 1
    assert count_rows(steps.target) == 360


def test_it_goes_on_with_the_same_only(steps, source, exported, tmp_path):
    steps = steps()
    child = steps.start()
    steps.wait_for(1)
    os.kill(child, signal.SIGKILL)
    steps.forks.wait(child, 60)
    line = list(steps.line)
    for more, said in ((["--outputs", "class"], "--outputs has changed from None to class"),
                       (["--input", "in.csv", "in.csv"], "other input files are named")):  # fmt: skip
        steps.line = line + more
        refused = steps.run()
        assert refused.returncode == 2
        assert said in refused.stderr
        assert "Remove .out.csv.partial to begin anew" in refused.stderr
    steps.line = line
    with source.open("a") as file:
        file.write("\n")
    assert "in.csv has changed since then" in steps.run().stderr


def test_two_at_once(steps):
    steps = steps()
    child = steps.start(block=200)
    steps.wait_for(1)
    os.kill(child, signal.SIGSTOP)
    second = subprocess.run(
        command(*steps.line[2:]), cwd=steps.folder, env=environment(), capture_output=True, text=True
    )
    os.kill(child, signal.SIGCONT)
    assert "another process is predicting into it" in second.stderr
    assert second.returncode == 2
    assert steps.forks.wait(child, 60) == 1


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_million_rows_in_bounded_memory_with_kills(exported, digits, tmp_path):
    check_many(exported, digits, tmp_path, rows=10_000_000, kills=5)


@pytest.mark.long
def test_many_rows_in_bounded_memory_with_a_kill(exported, digits, tmp_path):
    check_many(exported, digits, tmp_path, rows=1_000_000, kills=1)


def check_many(exported, digits, tmp_path, rows, kills):
    """Generated rows, each of which can be told by its answer; one in 100,000 is faulty."""
    rng = np.random.default_rng(0)
    order = rng.integers(0, len(digits), 100_000)
    lines = [",".join(map(str, digits[place].ravel())) for place in order]
    lines[54_321] = "1,2"
    text = "\n".join(lines) + "\n"
    with (tmp_path / "in.csv").open("w") as file:
        file.write(",".join(f"p{place}" for place in range(64)) + "\n")
        for _ in range(rows // len(lines)):
            file.write(text)
    line = command("predict", exported, "--input", "in.csv", "--output", "out.csv")
    # The ones that are killed save each block, since a fast machine is through before it would save for the first time.
    saving = [sys.executable, STEPS, *line[line.index("-m") + 1 :]]
    blocks = environment({"BLOCK_BYTES": str(BLOCK_BYTES)})
    journal = tmp_path / ".out.csv.partial" / "journal.json"
    for number in range(kills):
        child = subprocess.Popen(saving, cwd=tmp_path, env=blocks, stderr=subprocess.DEVNULL)
        while not journal.exists() or json.loads(journal.read_text())["progress"]["total"] < rows * (number + 0.3) / (
            kills + 1
        ):
            assert child.poll() is None
            time.sleep(0.01)
        assert peak_mebibytes(child.pid) < 500
        child.kill()
        child.wait()
    done = subprocess.Popen(line, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    peak = 0.0
    while done.poll() is None:
        peak = max(peak, peak_mebibytes(done.pid))
        time.sleep(0.05)
    said = b"".join(done.communicate()).decode()
    assert done.returncode == 1, said
    assert "going on behind row " in said
    assert f"out.csv: {rows:,} rows\n" in said
    assert 50 < peak < 500
    print(f"{rows:,} rows, at most {peak:.0f} MiB")
    with (tmp_path / "out.csv").open("rb") as file:
        file.readline()
        first = [file.readline() for _ in range(len(lines))]
        assert first[54_321].strip(b",\n") == b""
        for _ in range(rows // len(lines) - 1):
            assert [file.readline() for _ in range(len(lines))] == first
        assert not file.readline()
    same = {place: first[row] for row, place in enumerate(order) if row != 54_321}
    assert all(first[row] == same[place] for row, place in enumerate(order[:54_000]))
    with (tmp_path / "out.csv.errors.csv").open() as file:
        assert [int(row["row"]) for row in csv.DictReader(file)] == [*range(54_322, rows + 1, len(lines))]


def peak_mebibytes(process):
    """The most that a process has had in memory; not ru_maxrss, which begins with that of whoever started it."""
    status = Path(f"/proc/{process}/status").read_text()
    _, there, peak = status.partition("VmHWM:")
    return int(peak.split()[0]) / 1024 if there else 0.0
