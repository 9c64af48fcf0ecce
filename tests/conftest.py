"""What many tests share: the command as a real process, and MNIST where it is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from oarlock import checkpoint
from oarlock.paddle_import import import_paddle
from tests.forks import Forks

# Where it is set, each of some thousand processes would compile oarlock anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Paddle warns while it is imported; here warnings are errors.
import_paddle()

ROOT = Path(__file__).parents[1]
MNIST = Path(os.environ.get("OARLOCK_MNIST", ROOT.parent / "shared" / "data" / "mnist"))


# Runs many command lines in one process, since each `oarlock` that starts costs half a second.
DRIVER = """
import contextlib, io, json, sys
from oarlock.cli import main
answers = []
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(line)
        except SystemExit as done:
            code = done.code
    answers.append([int(code or 0), out.getvalue(), err.getvalue(), "paddle" in sys.modules])
json.dump(answers, sys.stdout)
"""


@dataclass
class Answer:
    """What a command line printed, its exit code, and whether its process had imported Paddle by then."""

    code: int
    out: str
    err: str
    paddle: bool


def pytest_collection_modifyitems(config, items):
    """The full counts run only where they are asked for, with `-m soak`."""
    if "soak" not in (config.getoption("-m") or ""):
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="full counts: run `make soak`"))


@pytest.fixture(autouse=True)
def signals_as_in_a_terminal():
    """Under `nohup`, and where a command ran in this process, what is started here would ignore some."""
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in watched]
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in zip(watched, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def mnist():
    """The folder with MNIST's IDX files."""
    if not (MNIST / "train-images-idx3-ubyte.gz").is_file():
        assert not os.environ.get("CI"), f"CI must have MNIST; it is not at {MNIST}"
        pytest.skip(f"MNIST is not at {MNIST}; set OARLOCK_MNIST")
    return MNIST


@pytest.fixture(scope="session")
def forks():
    """Runs commands in forks of one process; see tests/forks.py."""
    made = Forks(environment())
    yield made
    made.close()


@pytest.fixture
def oarlock(tmp_path, forks):
    """Run `oarlock` as a user does, in an empty folder; returns the completed process."""

    def run(*arguments, cwd=tmp_path, env=None, timeout=120):
        return forks.run(["oarlock", *map(str, arguments)], cwd, environment(env), timeout)

    return run


@pytest.fixture(scope="session")
def ask(tmp_path_factory):
    """Run command lines one after the other in one process; returns an Answer for each."""
    folder = tmp_path_factory.mktemp("asked")

    def run(env, *lines):
        done = subprocess.run(
            [sys.executable, "-c", DRIVER], input=json.dumps([line.split(" ") for line in lines]),
            cwd=folder, env=environment(env), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stdout
        return [Answer(*answer) for answer in json.loads(done.stdout)]

    return run


@pytest.fixture
def plugin(tmp_path):
    """Install a one-module plugin for child processes; returns the environment in which they find it."""

    def made(source, name="stranger"):
        return {"PYTHONPATH": str(install(tmp_path / "site", source, name))}

    return made


def install(folder, source, name="stranger"):
    """Install a one-module plugin into a folder, which is returned."""
    info = folder / f"oarlock_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}_module.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: oarlock-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[oarlock]\n{name} = {name}_module\n")
    return folder


def can_mount():
    """Whether a test may mount a disk of its own."""
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True).returncode == 0


def command(*arguments):
    """The command line of `oarlock` in this environment."""
    return [sys.executable, "-m", "oarlock", *map(str, arguments)]


def environment(extra=None):
    """This process's environment with its commands found first, and without what would change an error's form."""
    env = {key: value for key, value in os.environ.items() if key not in ("HYDRA_FULL_ERROR", "COLUMNS")}
    # Tests run side by side on few cores; one thread each is what a sweep would give a trial.
    path = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    return {**env, "PATH": path, "OMP_NUM_THREADS": "1", **(extra or {})}


def equal_ends(first, second):
    """Whether two runs left the same checkpoint and the same record, to the bit; fails where they did not."""
    ends = [checkpoint.newest_intact(folder / "checkpoints")[1] for folder in (first, second)]
    for name in ("model.safetensors", "optimizer.safetensors", "components.safetensors"):
        ours, theirs = (checkpoint.unpack_arrays(end[name]) for end in ends)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)
    rows = []
    for folder in (first, second):
        rows.append([json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()])
        for row in rows[-1]:
            del row["time"]
    assert rows[0] == rows[1]
    return True
