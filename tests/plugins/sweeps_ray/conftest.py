"""A real Ray cluster of several raylets on this machine, and what a test does to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oarlock_plugins.sweeps.ledger import Replay
from oarlock_plugins.sweeps.processes import processes_of
from tests.conftest import command, environment

MEMORY = 100 * 2**20
# The cluster is open on this machine for the time of the tests, whatever the user's own settings are.
RAY = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


class Nodes:
    """A cluster, driven through the process that holds it; each node is known by its raylet's process id."""

    def __init__(self, folder, **first):
        with (folder / "nodes.err").open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("nodes.py")), json.dumps(node(first))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env=environment(RAY), start_new_session=True,
            )  # fmt: skip
        answer = self._answer()
        self.address, self.head = answer["address"], answer["raylet"]

    def add(self, **resources):
        self._process.stdin.write(json.dumps({"add": node(resources)}) + "\n")
        self._process.stdin.flush()
        return self._answer()["raylet"]

    def _answer(self):
        line = self._process.stdout.readline()
        assert line, "the cluster has not started"
        return json.loads(line)

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        for pid in processes_of(self._process.pid):
            kill(pid)
        self._process.stdout.close()
        self._process.wait()


def node(resources):
    return {"object_store_memory": MEMORY, **resources}


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def children(pid):
    """The processes whose parent it is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def wait_for(what, seconds=120, sweep=None):
    """Wait until something is true, in vain once the sweep has ended; returns it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen"
        assert sweep is None or sweep.poll() is None, "the sweep has ended"
        time.sleep(0.05)
    return found


def trials(folder):
    return list(Replay(folder).trials.values())


@pytest.fixture(scope="session")
def nodes(tmp_path_factory):
    """Two nodes: one has a core, the other a core, a GPU that is none, and two of something special."""
    found = Nodes(tmp_path_factory.mktemp("ray"), num_cpus=1)
    try:
        found.second = found.add(num_cpus=1, num_gpus=1, resources={"special": 2})
        yield found
    finally:
        found.close()


@pytest.fixture
def begin(tmp_path):
    """Begin `oarlock …` and go on; whatever is still there afterwards is killed."""
    begun = []

    def run(*arguments, env=None):
        with (tmp_path / "printed").open("w") as printed:
            process = subprocess.Popen(command(*arguments), cwd=tmp_path, env=environment({**RAY, **(env or {})}),
                                       stdout=printed, stderr=printed)  # fmt: skip
        begun.append(process)
        return process

    yield run
    for process in begun:
        process.kill()
        process.wait()
