"""Sealed folders: what a killed process left of one that it was making."""

import subprocess
import sys

import pytest

from oarlock import scratch_folder
from tests.conftest import command, environment

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


@pytest.mark.parametrize(
    ("umask", "folder", "file"), [(0o077, 0o700, 0o600), (0o002, 0o775, 0o664)], ids=["own", "group"]
)
def test_who_may_read_a_run_is_as_the_user_has_set_it(tmp_path, umask, folder, file):
    for words in (["train", "trainer.max_steps=2", "callback=[]", "hydra.run.dir=run"], ["report", "run"]):
        done = subprocess.run(
            command(*words), cwd=tmp_path, env=environment(), umask=umask, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    paths = [tmp_path / "run", *(tmp_path / "run").rglob("*")]
    assert {path.name: path.stat().st_mode & 0o777 for path in paths} == {
        path.name: folder if path.is_dir() else file for path in paths
    }


def test_what_a_full_disk_has_cut_off_is_removed(tmp_path):
    limited = "ulimit -f 1; trap '' XFSZ; exec \"$@\""
    code = "from oarlock import write_atomically; from pathlib import Path; write_atomically(Path('page'), 'x' * 5000)"
    (tmp_path / "page").write_text("old")
    done = subprocess.run(
        ["bash", "-c", limited, "bash", sys.executable, "-c", code], cwd=tmp_path, capture_output=True
    )
    assert b"File too large" in done.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page", "old")]
