"""Packages that are no part of oarlock, installed by pip for the processes of these tests."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import environment

PACKAGES = Path(__file__).parent / "packages"

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


def install(tmp_path_factory, name):
    """The environment of a user who has installed one of the packages."""
    site = tmp_path_factory.mktemp("site")
    source = shutil.copytree(PACKAGES / name, tmp_path_factory.mktemp("source") / name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site]
    subprocess.run([*pip, source], check=True, capture_output=True)
    return {"PYTHONPATH": str(site)}


@pytest.fixture(scope="session")
def stroke(tmp_path_factory):
    return install(tmp_path_factory, "oarlock-stroke")


@pytest.fixture(scope="session")
def leaks(tmp_path_factory):
    return install(tmp_path_factory, "oarlock-leaks")


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
