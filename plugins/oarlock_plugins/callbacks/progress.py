"""What a person watches while a run trains."""

from __future__ import annotations

import sys
import time
from typing import Any

from oarlock import component, hookimpl, say


@component
class Progress:
    """One line per evaluation: epoch, time, loss, metrics; on a terminal with a bar for the steps of the epoch.

    Args:
        bar: show the bar where the output is a terminal.
        refresh_seconds: seconds between two updates of the bar.
    """

    changes_run = False

    bar: bool = True
    refresh_seconds: float = 0.1

    def __post_init__(self):
        self._bar = None

    @hookimpl
    def on_run_start(self, run):
        self._started = time.monotonic()
        if self.bar and sys.stdout.isatty():
            self._bar = _Bar(self.refresh_seconds)
            run.manager.register(self._bar)  # only where it is shown, it costs something on each step

    @hookimpl
    def on_evaluation_end(self, run, metrics):
        shown = "  ".join(f"{name} {metrics[name]:.4f}" for name in metrics)
        seconds = time.monotonic() - self._started
        line = f"epoch {run.history[-1]['epoch']:>3}  {seconds:7.1f}s  {shown}"
        if self._bar is not None and self._bar.shown:
            self._bar.print(line)
        else:
            say(line)

    @hookimpl
    def on_run_end(self, run):
        self._close()

    @hookimpl
    def on_failure(self, run):
        self._close()

    def _close(self):
        if self._bar is not None:
            self._bar.close()


class _Bar:
    """The bar of an epoch's steps."""

    changes_run = False

    def __init__(self, refresh_seconds):
        self._refresh_seconds = refresh_seconds
        self._bar: Any = None
        self._task: Any = None
        self._next = 0.0

    @property
    def shown(self):
        return self._bar is not None

    @hookimpl
    def on_step_end(self, run):
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._refresh_seconds
            if self._bar is None:
                self._open(run)
            self._bar.update(self._task, completed=run.position, epoch=run.epoch + 1)

    def print(self, line):
        self._bar.console.print(line, highlight=False)

    def close(self):
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _open(self, run):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            transient=True,
        )  # fmt: skip
        self._bar.start()
        self._task = self._bar.add_task("", total=run.feeder.steps_per_epoch, epoch=run.epoch + 1)
