"""What the trackers share: when they write, and what happens where they cannot."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Any

from oarlock import UserError, hookimpl, shown_path, warn
from oarlock_plugins.dotted import dotted

# Seconds until what could not be written is tried again; twice as long each time.
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
MOST_LETTERS = 160


class Tracker:
    """Hands a run's configuration, its evaluations and its end to a tool.

    The record of a run is in its folder in any case. So a run whose tracker cannot be opened does not begin, but one that is
    under way goes on: what could not be written is tried again later, and at the end.

    A tracker has a `name` and the Python `package` that it needs, what the tool takes in no name of a number, and the methods
    below. What it adds to `changes_run` is nothing: it draws no random number and touches no weight.
    """

    changes_run = False
    name = package = ""
    not_in_names = re.compile("(?!)")
    _opened = False

    def open(self, run: Any, values: dict[str, Any]) -> None:
        """Begin, or go on where the run is resumed.

        Args:
            run: the run, at its start.
            values: its configuration, without a level: {"optimizer.learning_rate": 0.1}.
        """
        raise NotImplementedError

    def write(self, row: dict[str, float], step: int, time: float) -> None:
        """Write numbers by their names.

        Args:
            row: `{"valid/accuracy": 0.9, "learning_rate": 0.1}`; each is finite.
            step: the steps that the run had made.
            time: seconds since 1970.
        """
        raise NotImplementedError

    def close(self, status: str) -> None:
        """End.

        Args:
            status: the run's, as run.json has it.
        """
        raise NotImplementedError

    @hookimpl
    def on_run_start(self, run):
        self._waiting: list[tuple[dict[str, float], int, float]] = []
        self._pause, self._again = 0.0, -math.inf
        if run.destination is None:  # nobody records it, as when `oarlock check` builds it
            return
        try:
            self.open(run, dotted(run.values))
            self._opened = True
        except ImportError as error:
            raise UserError(f"callback={self.name} needs {error.name or self.package}, which is not installed.\n"
                            f"pip install 'oarlock[{self.name}]'") from error  # fmt: skip
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"callback={self.name}: it cannot be written to: {_short(error)}") from error

    @hookimpl
    def on_evaluation_end(self, run):
        if not self._opened:
            return
        row = run.history[-1]
        numbers = {
            key: value for key, value in row.items() if key not in ("epoch", "step", "time") and value is not None
        }
        self._waiting.append(({**numbers, "epoch": row["epoch"]}, row["step"], row["time"]))
        self._write()

    @hookimpl
    def on_run_end(self, run):
        if not self._opened:
            return
        if run.status != "interrupted":
            test = {
                key: value for key, value in run.metrics.items() if key.startswith("test/") and math.isfinite(value)
            }
            if test and run.history:
                self._waiting.append((test, run.step, run.history[-1]["time"]))
        self._end(run.status)

    @hookimpl
    def on_failure(self, run):
        if self._opened:
            self._end("failed")

    def fit(self, name: str) -> str:
        """The name of a number as the tool takes it."""
        return self.not_in_names.sub("_", name)

    def _end(self, status: str) -> None:
        self._again = -math.inf
        self._write()
        if self._waiting:
            warn(f"callback.{self.name}: {len(self._waiting)} of its rows are in the run's folder alone")
        try:
            self.close(status)
        except Exception as error:
            warn(f"callback.{self.name}: the end of the run is not noted: {_short(error)}")

    def _write(self) -> None:
        """Write what is waiting, unless that failed a moment ago: to find that nobody answers may take seconds."""
        if time.monotonic() < self._again:
            return
        try:
            while self._waiting:
                row, step, moment = self._waiting[0]
                self.write({self.fit(name): value for name, value in row.items()}, step, moment)
                del self._waiting[0]
            self._pause = 0.0
        except Exception as error:
            if not self._pause:
                warn(f"callback.{self.name}: {_short(error)}; it is tried again later")
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._again = time.monotonic() + self._pause


def label(run: Any) -> str:
    """What a run is called where there are many: its folder, as it is typed from here if it lies below, else from the root."""
    shown = Path(shown_path(run.destination))
    return str(shown.relative_to(shown.anchor))


def _short(error: BaseException) -> str:
    """The beginning of an error's text; some tools put whole conversations there."""
    lines = str(error).strip().splitlines()
    text = lines[0].rstrip(".") if lines else type(error).__name__
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS].rstrip()} …"
