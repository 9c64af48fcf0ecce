"""Every command in README and docs runs, every Python snippet too, and prints what the page says that it prints."""

from __future__ import annotations

import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import environment
from tests.docs.pages import PAGES, ROOT, Command, blocks

# Commands that make an environment, with where they are run instead.
SET_UP = {
    "make train": "`.ci/run` runs the main job in a clean environment",
    "make test": "`.ci/run` ends with it; here it would run itself",
    "make train EXTRA=gpu": "`.ci/run` installs the same extra and runs the smoke suite with it",
    "make test-long": "`.ci/run` runs it",
    "make lint": "`.ci/run` begins with it",
    "make docs": "`.ci/run` runs it and compares what is committed",
    "make bench": "figures, not a test: it takes minutes",
    "make soak": "the full counts of the tests: it takes hours",
    "pip install 'oarlock[gpu]'": "`.ci/run` installs the wheel with this extra in a clean environment",
    "pip install 'oarlock[tensorboard]'": "the development environment has it",
    ". .venv/bin/activate": "the tests run in an environment that is active already",
}

# Appended to commands that would train for minutes; the command is otherwise as it is shown.
SHORTENED = {"experiment=seed_mnist": ["trainer.max_steps=20", "trainer.evaluate_every=10 steps"]}

# What differs from run to run or from machine to machine: times, folders named by them, and trained numbers.
VARYING = [
    (r"the loss of step \d+ is nan", "the loss of step N is nan"),
    (r"\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d(-\d+)?", "DATE"),
    (r" +\d+\.\ds\b", " SECONDS"),
    (r"(\b(?:train|valid|test)/\w+\"?:? |made: loss )-?[\d.e-]+", r"\1VALUE"),
    (r"Paddle [\d.]+ sees \d+ GPUs? here", "Paddle sees so many GPUs here"),
    (r"\b(at step|after|from step) \d+", r"\1 N"),
    (r"^(VALUE|.* VALUE)  (sweeps/\w+)/\d+$", r"\1  \2/N"),
]


class Reader:
    """Follows a page in a folder of its own, as somebody who types what it shows."""

    def __init__(self, folder, forks):
        self.folder, self.forks = folder, forks
        self.site = folder / ".site"
        self.output = folder / ".output"
        self.code = 0

    def execute(self, words, interrupt=False):
        """Run `oarlock …` or `python file` in a fork; returns its output."""
        self.output.write_text("")
        env = environment({"PYTHONPATH": str(self.site)})
        child = self.forks.start(words, self.folder, env, self.output, self.output)
        if interrupt:
            deadline = time.monotonic() + 60
            while "epoch" not in self.output.read_text() and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(child, signal.SIGINT)
        self.code = self.forks.wait(child, timeout=120)
        return self.output.read_text()

    def shell(self, line, env=None, timeout=60):
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=environment(env), text=True, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.code = done.returncode
        return done.stdout

    def install(self, package):
        """`pip install ./package`, into a folder of this page so that no other test sees the plugin."""
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps",
               "--disable-pip-version-check", "--target", str(self.site), package]  # fmt: skip
        return self.shell(shlex.join(pip))

    def type(self, command: Command):
        """Run a command as it is shown; returns what it printed."""
        if command.line in SET_UP:
            self.code = 0
            return None
        if command.line == "echo $?":
            code, self.code = self.code, 0
            return f"{code}\n"
        words = shlex.split(command.line)
        if words[:2] == ["pip", "install"]:
            assert len(words) == 3, command.line
            assert words[2].startswith("./"), command.line
            return self.install(words[2])
        if words[0] in ("oarlock", "python"):
            for word, more in SHORTENED.items():
                words += more if word in words else []
            return self.execute(words, interrupt="^C" in command.shown)
        if words[0] in ("pytest", "PYTHONPATH=."):
            line = command.line.replace("PYTHONPATH=.", "PYTHONPATH=$PYTHONPATH:.")
            line = line.replace(" oarlock ", f" {sys.executable} -m oarlock ")
            return self.shell(f"{sys.executable} -m {line}" if words[0] == "pytest" else line,
                              {"PYTHONPATH": str(self.site)}, timeout=240)  # fmt: skip
        return self.shell(command.line)


# What a newcomer reads first; the other pages are among the tests that take minutes.
FIRST = ("README.md", "tutorial.md")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=str(page.relative_to(ROOT)), marks=() if page.name in FIRST else pytest.mark.long)
        for page in PAGES
    ],
)
def test_page(page, tmp_path, forks):
    reader = Reader(tmp_path, forks)
    write_mnist(tmp_path / "mnist")
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.excerpt:
            continue
        if block.title:
            (tmp_path / block.title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python" and page.parent.name != "reference":
            (tmp_path / ".snippet.py").write_text(block.text, encoding="utf-8")
            printed = reader.execute(["python", ".snippet.py"])
            assert reader.code == 0, f"{where}\n{printed}"
        elif block.language in ("bash", "console"):
            follow(reader, block.commands, where)


def follow(reader, commands, where):
    for number, command in enumerate(commands):
        printed = reader.type(command)
        if printed is None:
            continue
        here = f"{where}: $ {command.line}\n{printed}"
        asks_for_code = number + 1 < len(commands) and commands[number + 1].line == "echo $?"
        if not asks_for_code:
            assert reader.code == expected_code(command.shown), here
        if command.shown:
            assert matches(command.shown, printed.splitlines()), here + "--- shown:\n" + "\n".join(command.shown)


def expected_code(shown):
    """The exit code that belongs to what is shown: an error's, an interruption's, or success."""
    for line in shown:
        if line.startswith("error: the run failed"):
            return 1
        if line.startswith("error: "):
            return 2
        if line.startswith("stopped by "):
            return 75
    return 0


def matches(shown, printed):
    """Whether the printed lines are those shown, where a line of `...` stands for any lines and ^C for a key."""
    shown = [varied(line) for line in shown if line != "^C"]
    printed = [varied(line) for line in printed if line.strip()]
    shown = [line for line in shown if line.strip()]
    pattern = "".join(r"(?:[^\n]*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def varied(line):
    for pattern, replacement in VARYING:
        line = re.sub(pattern, replacement, line)
    return " ".join(line.split())


def write_mnist(folder):
    """The four IDX files, with few rows of noise: the commands are tested here, not what a model learns."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name, rows in (("train", 1500), ("t10k", 200)):
        images = struct.pack(">HBBIII", 0, 8, 3, rows, 28, 28) + rng.bytes(rows * 28 * 28)
        labels = struct.pack(">HBBI", 0, 8, 1, rows) + (rng.integers(0, 10, rows, np.uint8)).tobytes()
        (folder / f"{name}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(labels)


def test_what_is_shown_must_be_what_is_printed():
    """The comparison itself can fail."""
    printed = ["epoch   1      0.1s  train/loss 0.7110", "run: runs/2026-11-24/16-42-36"]
    assert matches(["epoch   1      9.9s  train/loss 0.5", "run: runs/2020-01-01/00-00-00"], printed)
    assert matches(["...", "run: runs/2020-01-01/00-00-00"], printed)
    assert not matches(["epoch   2      0.1s  train/loss 0.7110", "..."], printed)
    assert not matches(["epoch   1      0.1s  valid/loss 0.7110", "..."], printed)
    assert not matches(["epoch   1      0.1s  train/loss 0.7110"], printed)


def test_a_set_up_command_is_one_that_a_page_shows():
    shown = {command.line for page in PAGES for block in blocks(page) if block.language in ("bash", "console")
             for command in block.commands}  # fmt: skip
    assert set(SET_UP) <= shown
