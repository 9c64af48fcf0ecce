"""What a person sees of a sweep: a live table on a terminal, a line for each ended trial elsewhere, a summary at its end."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any, TextIO

from oarlock import say, shown_path
from oarlock_plugins.sweeps.ledger import ENDED, FINISHED, Trial
from oarlock_plugins.sweeps.ranking import rank

if TYPE_CHECKING:
    from oarlock_plugins.sweeps.driver import Display, Driver
    from oarlock_plugins.sweeps.trials import Trials

# More lines than a person reads; the report has them all.
MOST_LINES = 10


def display_for(stream: TextIO) -> Display:
    """A table where the stream is a terminal, lines where it is not."""
    return Table() if stream.isatty() else Lines()


class Lines:
    """A line for each trial that has ended."""

    def update(self, driver: Driver) -> None:
        """Nothing: only ends are told."""

    def ended(self, trials: Trials, trial: Trial) -> None:
        say(line(trials, trial))

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

    def ended(self, trials: Trials, trial: Trial) -> None:
        self._live.console.print(line(trials, trial), highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._live.stop()

    def _render(self, driver: Driver) -> Any:
        from rich.table import Table as RichTable
        from rich.text import Text

        name = _objective(driver.trials)
        table = RichTable(title=_totals(driver.trials), title_justify="left", box=None, padding=(0, 2, 0, 0))
        for column in ("trial", "epoch", name, "steps/s", "left", "values"):
            table.add_column(column, no_wrap=True, overflow="ellipsis")
        for number, worker in sorted(driver.running.items()):
            trial, told = driver.trials.ledger.trials[number], worker.told
            seconds = time.monotonic() - worker.since
            steps, total = told.get("step", 0), told.get("total_steps")
            speed = (steps - told.get("first_step", 0)) / seconds if seconds > 0 else 0.0
            left = _duration((total - steps) / speed) if total and speed > 0 else ""
            value = trial.metrics.get(name)
            table.add_row(str(number), str(told.get("epoch", 0) + 1), f"{value:.4f}" if value is not None else "",
                          f"{speed:.0f}" if speed else "starting", left, Text(_values(trial)))  # fmt: skip
        return table


def line(trials: Trials, trial: Trial) -> str:
    """One ended trial: what it was, how it ended, how good it is."""
    name = _objective(trials)
    value = trial.objective[0] if trial.objective else trial.metrics.get(name)
    result = trial.error.splitlines()[0] if trial.error else f"{name} {value:.4f}" if value is not None else ""
    ended = sum(trials.ledger.counts[status] for status in ENDED)
    total = f" of {trials.total}" if trials.total else ""
    return f"{ended}{total}: trial {trial.number} {trial.status} in {trial.seconds:.1f} s  {result}  {_values(trial)}"


def _totals(trials: Trials) -> str:
    counts = sorted(trials.ledger.counts.items())
    told = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts if count)
    total = f" of {trials.total}" if trials.total else ""
    best = trials.best()
    found = (
        f"; best {_objective(trials)} {best.objective[0]:.4f} (trial {best.number})" if best and best.objective else ""
    )
    return f"{len(trials.ledger.trials)}{total} trials: {told}{found}; {_duration(time.monotonic() - trials.started)}"


def _objective(trials: Trials) -> str:
    return trials.ledger.objectives[0][0] if trials.ledger.objectives else "metric"


def _values(trial: Trial) -> str:
    return " ".join([*(f"{key}={short(value)}" for key, value in trial.values.items()), *trial.extra])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary(trials: Trials) -> str:
    """What is printed when a sweep has ended: the ranking, the failures, what to do with the best."""
    found, objectives = trials.ledger.trials.values(), trials.ledger.objectives
    ranked = rank(found, objectives)
    lines = []
    if ranked:
        names = ", ".join(f"{name} ({direction})" for name, direction in objectives)
        several = len(objectives) > 1
        lines.append(f"best first by {names}:" if not several else f"the Pareto front of {names}, then the rest:")
        shown = ranked[:MOST_LINES]
        for place, one in enumerate(shown, 1):
            mark = ("*" if one.on_front else " ") if several else f"{place:>3}"
            means = "  ".join(_value(mean, deviation, len(one.trials))
                              for mean, deviation in zip(one.means, one.deviations, strict=True))  # fmt: skip
            lines.append(f"{mark}  {means}  {_path(trials, one.best)}  {_assigned(one.best)}".rstrip())
        if len(ranked) > len(shown):
            lines.append(f"     and {len(ranked) - len(shown)} more")
    failed = [trial for trial in found if trial.status == "failed"]
    for trial in failed[:MOST_LINES]:
        log, path = trials.log(trial), _path(trials, trial)
        where = f"; log: {shown_path(log)}" if log.is_file() else ""
        error = " ".join(trial.error.split("\n")).removeprefix(f"{path}: ").rstrip(".")
        lines.append(f"failed: {path}: {error}{where}")
    if len(failed) > MOST_LINES:
        folder = shlex.quote(shown_path(trials.folder))
        lines.append(f"failed: and {len(failed) - MOST_LINES} more; 'oarlock report {folder}' names them all")
    if ranked:
        best = ranked[0].best
        lines.append(f"best run: {_path(trials, best)}")
        command = ["oarlock", "train", *trials.composer.flags, *best.overrides]
        lines.append(f"repeat it: {shlex.join(command)}")
    pruned = sum(trial.status == "pruned" for trial in found)
    finished = sum(trial.status in FINISHED for trial in found) - pruned
    waiting = len(found) - finished - pruned - len(failed)
    counts = [f"{finished} finished"]
    counts += [f"{pruned} pruned"] if pruned else []
    counts += [f"{waiting} to go on with"] if waiting else []
    lines.append(f"sweep: {shown_path(trials.folder)}, {', '.join([*counts, f'{len(failed)} failed'])}")
    return "\n".join(lines)


def _value(mean: float, deviation: float, count: int) -> str:
    return f"{mean:.4f} ± {deviation:.4f} ({count})" if count > 1 else f"{mean:.4f}"


def _assigned(trial: Trial) -> str:
    return " ".join(f"{key}={short(value)}" for key, value in trial.values.items())


def short(value: str) -> str:
    """A value as a person reads it: a number that a sampler drew is cut to four digits."""
    try:
        return value if len(value) <= 8 else f"{float(value):.4g}"
    except ValueError:
        return value


def _path(trials: Trials, trial: Trial) -> str:
    return shown_path(trials.folder / trial.folder)
