"""Sealed folders: what a killed process left of one that it was making."""

import subprocess
import sys

import pytest

from oarlock import scratch_folder

HOLDS_ONE = """
import sys, time
from pathlib import Path
from oarlock import scratch_folder
with scratch_folder(Path(sys.argv[1]), "toy") as folder:
    (folder / "weights").write_bytes(bytes(1000))
    print(folder.name, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that is making a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS_ONE, tmp_path], stdout=subprocess.PIPE, text=True)
    process.folder = tmp_path / process.stdout.readline().strip()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_next_removes_what_a_killed_process_left(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (holder.folder / "weights").exists()
    with scratch_folder(tmp_path, "toy") as mine:
        assert list(tmp_path.iterdir()) == [mine]
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_is_making_stays(tmp_path, holder):
    with scratch_folder(tmp_path, "toy") as mine:
        assert set(tmp_path.iterdir()) == {mine, holder.folder}
    assert (holder.folder / "weights").exists()


def test_folders_of_other_names_stay(tmp_path):
    others = [tmp_path / name for name in (".toy.original", ".toy", "toy", ".other.abcdefgh.scratch")]
    for other in others:
        other.mkdir()
    with scratch_folder(tmp_path, "toy"):
        pass
    assert set(tmp_path.iterdir()) == set(others)
