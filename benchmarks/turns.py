"""Turns of a few epochs: how the trainers of training.py run side by side and yet one at a time.

Each trainer lives in a process of its own. It reports the seconds of its turn on a pipe and waits on its standard
input for the next one, so that a ratio compares moments which lie within a second or two of each other.
"""

from __future__ import annotations

import json
import os
import sys
import time

from oarlock import component, hookimpl


class Turn:
    """The present turn of this process.

    Args:
        report: descriptor of the pipe to report on.
        warmup: epochs before the first report, whose time nobody uses.
        epochs: epochs of every later turn.
    """

    def __init__(self, report, warmup, epochs):
        self._report, self._left, self._epochs = report, warmup, epochs
        self.started = time.perf_counter()

    def epoch_ended(self):
        """Count an epoch with its evaluation; at the end of the turn, report and wait."""
        self._left -= 1
        if self._left:
            return
        self.report(f"{time.perf_counter() - self.started!r}")
        if not sys.stdin.readline():
            sys.exit("training.py has gone")
        self._left = self._epochs
        self.started = time.perf_counter()

    def training_ended(self, accuracy, save=0.0):
        """Report the last validation accuracy, and the seconds that a checkpoint took."""
        self.report(json.dumps({"accuracy": accuracy, "save": save}))

    def report(self, line):
        os.write(self._report, f"{line}\n".encode())


def turn():
    """This process's turn, as training.py has set it up: descriptor, epochs of warm-up, epochs of a turn."""
    return Turn(*(int(number) for number in os.environ["OARLOCK_BENCH_TURN"].split()))


@component
class Turns:
    """Lets oarlock take part: a callback without any part in the steps."""

    @hookimpl
    def on_run_start(self):
        self._turn = turn()

    @hookimpl(trylast=True)
    def on_evaluation_end(self):
        self._turn.epoch_ended()

    @hookimpl
    def on_checkpoint(self):
        self._save = time.perf_counter() - self._turn.started

    @hookimpl
    def on_run_end(self, run):
        self._turn.training_ended(run.metrics["valid/accuracy"], self._save)


@hookimpl
def register_components(register):
    register("callback/turns", Turns)
