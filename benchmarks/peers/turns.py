"""Turns of a given time: how the trainers of a benchmark run side by side and yet one at a time.

Each trainer lives in a process of its own. It trains whole epochs until the time of its turn is over, reports on a pipe
how many seconds and epochs it took, and waits on its standard input for the next turn, so that a ratio compares moments
which lie within a second or two of each other. Nothing but the standard library is imported: every peer's environment
reads this file.
"""

from __future__ import annotations

import json
import os
import sys
import time

ACCURACY_EPOCH = 5  # of all trainers, which train for different numbers of epochs
VARIABLE = "OARLOCK_BENCH_TURN"


class Turn:
    """The present turn of this process.

    Args:
        report: descriptor of the pipe to report on; None where this process trains on its own.
        epochs: how many epochs to train where it does.
    """

    def __init__(self, report: int | None, epochs: int = 0) -> None:
        self._report, self._limit = report, epochs
        self._seconds, self._epochs, self._all = 0.0, 0, 0
        self.accuracy = None
        self.started = time.perf_counter()

    def epoch_ended(self, accuracy: float) -> bool:
        """Count an epoch with its evaluation, and wait where the turn is over; returns whether training shall end."""
        now = time.perf_counter()
        self._epochs += 1
        self._all += 1
        if self._all <= ACCURACY_EPOCH:
            self.accuracy = float(accuracy)
        if self._report is None:
            return self._all >= self._limit
        if now - self.started < self._seconds:
            return False
        self._say({"seconds": now - self.started, "epochs": self._epochs})
        line = sys.stdin.readline().strip()
        # An empty line is the end of the pipe: who asked has gone.
        if line in ("", "end"):
            self.started = time.perf_counter()
            return True
        self._seconds, self._epochs = float(line), 0
        self.started = time.perf_counter()
        return False

    def training_ended(self, save: float = 0.0) -> None:
        """Report the accuracy after the same epoch as all, and the seconds that a checkpoint took."""
        self._say({"accuracy": self.accuracy, "save": save})

    def _say(self, values: dict) -> None:
        if self._report is not None:
            os.write(self._report, f"{json.dumps(values)}\n".encode())


def turn() -> Turn:
    """This process's turn, as the benchmark has set it up."""
    descriptor, epochs = os.environ[VARIABLE].split()
    return Turn(int(descriptor) if descriptor != "-" else None, int(epochs))
