"""Real sweeps for tests: the command, a component that fails on demand, and a look at what a sweep has left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from tests.conftest import command, environment

from oarlock_plugins.sweeps.ledger import Replay, read

TROUBLE = '''
from __future__ import annotations
import math, os, signal, sys, time
from pathlib import Path
from typing import Union
from oarlock import component, hookimpl

@component
class Trouble:
    """Fails in the way that is asked for.

    Args:
        how: none, raise, exit, abort, kill, hang, memory, slow, interrupt, or term, which it does at the start.
        once: only where this file is not there yet; it is made.
    """

    how: str = "none"
    once: str = ""

    @hookimpl
    def on_run_start(self, run):
        if self.how == "term":
            os.kill(os.getpid(), signal.SIGTERM)

    @hookimpl
    def on_epoch_start(self, run):
        if run.epoch < 1 or (self.once and os.path.exists(self.once)):
            return
        if self.once:
            open(self.once, "w").close()
        how = self.how.partition("/")[0]
        time.sleep(0.3)  # a checkpoint that was begun is on the disk by now
        if how == "raise":
            raise RuntimeError("trouble was asked for")
        if how == "exit":
            sys.exit(3)
        if how == "abort":
            os.abort()
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "hang":
            time.sleep(3600)
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "slow":
            time.sleep(0.2)
        if how == "memory":
            held = []
            while True:
                held.append(os.urandom(1 << 12) * (1 << 14))
                time.sleep(0.02)

@component
class Demanding:
    """Has an option without a value, and one whose value is not valid as it is."""

    share: float
    word: str = ""

    def __post_init__(self):
        if not self.word:
            raise ValueError("word: expected one")

@component
class Endless:
    """A callback whose option is no number to JSON."""

    top: float = math.inf

@component
class Kinds:
    """Options of kinds that are no plain values to YAML or JSON."""

    number: Union[int, float] = 1
    where: Path = Path("here")

    @hookimpl
    def on_run_start(self, run):
        print("kinds:", repr(self.number), repr(self.where), self.where.exists())

@hookimpl
def register_components(register):
    register("callback/trouble", Trouble)
    register("callback/kinds", Kinds)
    register("callback/endless", Endless)
    register("callback/demanding", Demanding)
'''
# Small enough that a trial takes a tenth of a second.
JOB = ["model.widths=[8]", "callback=[]", "trainer.epochs=2"]


class Sweeps:
    """Starts sweeps in one folder, as processes that can be found again by a mark in their environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = uuid.uuid4().hex
        (folder / "site").mkdir()
        (folder / "site" / "trouble.py").write_text(TROUBLE)
        self.environment = environment({"PYTHONPATH": str(folder / "site"), "OARLOCK_TEST_MARK": self._mark})

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(*arguments), cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command(*arguments), cwd=cwd or self.folder, env=self.environment, text=True,
                              capture_output=True, timeout=240)  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return done

    def trials(self, name: str = "s") -> dict:
        return Replay(self.folder / name).trials

    def events(self, name: str = "s") -> list[dict]:
        return read((self.folder / name / "ledger.jsonl").read_bytes())[0]

    def record(self, trial: int | str, name: str = "s") -> dict:
        return json.loads((self.folder / name / str(trial) / "run.json").read_text())

    def wait_for(self, what, seconds: float = 60.0) -> None:
        """Until `what()` is true."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, "it did not come to that"
            time.sleep(0.02)

    def wait_for_ends(self, count: int, name: str = "s") -> None:
        """Until so many trials have ended."""
        self.wait_for(lambda: (self.folder / name / "ledger.jsonl").exists()
                      and sum(event["event"] == "end" for event in self.events(name)) >= count)  # fmt: skip

    def processes(self) -> list[int]:
        """The processes of this test's sweeps that are alive."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
                    if alive and self._mark.encode() in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found


@pytest.fixture
def sweeps(tmp_path):
    made = Sweeps(tmp_path)
    yield made
    for process in made.processes():
        os.kill(process, signal.SIGKILL)
