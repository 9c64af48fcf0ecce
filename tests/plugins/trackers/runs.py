"""Runs with a tracker, as a user makes them."""

from __future__ import annotations

import json
import os
import subprocess
import time

from tests.conftest import command, environment

JOB = ["optimizer=momentum", "model.widths=[8]", "trainer.epochs=3"]

# A component of a stranger's that ends the process in the middle of a run, or has it fail.
ENDS = '''
import os
from oarlock import component, hookimpl

@component
class Ends:
    """End the process after an evaluation, or fail.

    Args:
        epoch: after how many epochs.
        signal: the signal that the process sends to itself; 0 for an error.
    """

    changes_run = True

    epoch: int = 2
    signal: int = 9

    @hookimpl(trylast=True)
    def on_evaluation_end(self, run):
        if len(run.history) == self.epoch and not os.environ.get("GOES_ON"):
            if self.signal:
                os.kill(os.getpid(), self.signal)
            else:
                raise RuntimeError("no more of this")

@hookimpl
def register_components(register):
    register("callback/ends", Ends)
'''


def start(folder, *arguments, env=None):
    """A command in a process of its own."""
    return subprocess.Popen(
        command(*arguments), cwd=folder, env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def rows_of(run):
    """What metrics.jsonl says: {name: [(step, value)]}."""
    found = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name not in ("step", "time"):
                found.setdefault(name, []).append((row["step"], value))
    return found


def wait_for(happens, seconds=60):
    """Until it is true."""
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.05)


def without(package, folder):
    """An environment in which a package is not installed."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text(f"raise ModuleNotFoundError(\"No module named '{package}'\")\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
