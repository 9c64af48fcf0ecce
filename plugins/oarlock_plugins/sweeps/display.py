"""What a person watches while a sweep goes on: a live table on a terminal, a line for each ended trial elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TextIO

from oarlock_plugins.sweeps.ledger import ENDED, Trial
from oarlock_plugins.sweeps.ranking import short

if TYPE_CHECKING:
    from oarlock_plugins.sweeps.driver import Display, Driver


def display_for(stream: TextIO) -> Display:
    """A table where the stream is a terminal, lines where it is not."""
    return Table() if stream.isatty() else Lines()


class Lines:
    """A line for each trial that has ended."""

    def update(self, driver: Driver) -> None:
        """Nothing: only ends are told."""

    def ended(self, driver: Driver, trial: Trial) -> None:
        print(line(driver, trial), flush=True)

    def close(self) -> None:
        """Nothing is open."""


class Table:
    """The running trials, each with its epoch, metric, speed and time left; above it, what has ended."""

    REFRESH_SECONDS = 0.25

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(auto_refresh=False, transient=True)
        self._live.start()
        self._shown = 0.0

    def update(self, driver: Driver) -> None:
        now = time.monotonic()
        if now - self._shown >= self.REFRESH_SECONDS:
            self._shown = now
            self._live.update(self._render(driver), refresh=True)

    def ended(self, driver: Driver, trial: Trial) -> None:
        self._live.console.print(line(driver, trial), highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def _render(self, driver: Driver) -> Any:
        from rich.table import Table as RichTable

        table = RichTable(title=_totals(driver), title_justify="left", box=None, padding=(0, 2, 0, 0))
        for column in ("trial", "epoch", _objective(driver), "steps/s", "left", "values"):
            table.add_column(column, no_wrap=True, overflow="ellipsis")
        for number, worker in sorted(driver.running.items()):
            trial, told = driver.ledger.trials[number], worker.told
            seconds = time.monotonic() - worker.since
            steps, total = told.get("step", 0), told.get("total_steps")
            speed = (steps - told.get("first_step", 0)) / seconds if seconds > 0 else 0.0
            left = _duration((total - steps) / speed) if total and speed > 0 else ""
            value = trial.metrics.get(_objective(driver))
            table.add_row(str(number), str(told.get("epoch", 0) + 1), f"{value:.4f}" if value is not None else "",
                          f"{speed:.0f}" if speed else "starting", left, _values(trial))  # fmt: skip
        return table


def line(driver: Driver, trial: Trial) -> str:
    """One ended trial: what it was, how it ended, how good it is."""
    name = _objective(driver)
    value = trial.objective[0] if trial.objective else trial.metrics.get(name)
    result = trial.error.splitlines()[0] if trial.error else f"{name} {value:.4f}" if value is not None else ""
    ended = sum(one.status in ENDED for one in driver.ledger.trials.values())
    total = f" of {driver.total}" if driver.total else ""
    return f"{ended}{total}: trial {trial.number} {trial.status} in {trial.seconds:.1f} s  {result}  {_values(trial)}"


def _totals(driver: Driver) -> str:
    counts: dict[str, int] = {}
    for trial in driver.ledger.trials.values():
        counts[trial.status] = counts.get(trial.status, 0) + 1
    told = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in sorted(counts.items()))
    total = f" of {driver.total}" if driver.total else ""
    best = driver.best()
    found = (
        f"; best {_objective(driver)} {best.objective[0]:.4f} (trial {best.number})" if best and best.objective else ""
    )
    return f"{len(driver.ledger.trials)}{total} trials: {told}{found}; {_duration(time.monotonic() - driver.started)}"


def _objective(driver: Driver) -> str:
    return driver.ledger.objectives[0][0] if driver.ledger.objectives else "metric"


def _values(trial: Trial) -> str:
    return " ".join([*(f"{key}={short(value)}" for key, value in trial.values.items()), *trial.extra])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
