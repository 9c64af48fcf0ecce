"""What to run next, and what came of it: the ledger, the search, and the repetitions of each point."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

from oarlock_plugins.sweeps.composer import Composer
from oarlock_plugins.sweeps.folders import LOGS
from oarlock_plugins.sweeps.ledger import ENDED, FINISHED, Ledger, Trial
from oarlock_plugins.sweeps.options import Search as Options
from oarlock_plugins.sweeps.outcome import Outcome, objective_values, resolve_objectives
from oarlock_plugins.sweeps.ranking import rank
from oarlock_plugins.sweeps.search import Point, Search, aggregate

# The option that the repetitions of a point differ in.
SEED = "seed"


class Trials:
    """The trials of a sweep. Whatever happens to one is written into the ledger, and told to the search.

    Attributes:
        folder: the sweep's.
        ledger: everything that is known.
        search: gives the points; `recovery.take_up` makes it.
        by_point: the trials of each point, one for each seed.
        started: when this process began (time.monotonic).

    Raises:
        UserError: another process holds the sweep.
    """

    search: Search

    def __init__(self, folder: Path, options: Options, composer: Composer) -> None:
        self.folder, self.options, self.composer = folder, options, composer
        self.started = time.monotonic()
        self.by_point: dict[int, list[Trial]] = {}
        self._queue: deque[Trial] = deque()
        self._held: dict[int, list[Trial]] = {}
        self._told: set[int] = set()
        self._begun = False
        self._base_seed = int(composer.base_values()[SEED]) if options.seeds > 1 else 0
        self.ledger = Ledger(folder)

    @property
    def total(self) -> int | None:
        """How many trials there will be, where that is known."""
        return self.search.total * self.options.seeds if self.search.total is not None else None

    def log(self, trial: Trial) -> Path:
        """Where a trial's output is."""
        return self.folder / LOGS / f"{trial.folder}.txt"

    def best(self) -> Trial | None:
        """The best trial so far."""
        ranked = rank(self.ledger.trials.values(), self.ledger.objectives)
        return ranked[0].best if ranked else None

    # --- what to run next

    def next(self) -> Trial | None:
        """The next trial; None where there is none now."""
        seconds = self.options.timeout_seconds
        # One begins in any case, however long the workers took to start.
        if seconds is not None and self._begun and time.monotonic() - self.started > seconds:
            return None
        if self._queue:
            return self._queue.popleft()
        point = self.search.ask()
        if point is None:
            return None
        self.write_all(point)
        self.enqueue(point.number)
        return self._queue.popleft()

    def has_more(self) -> bool:
        """Whether there is another trial; if so, it is the next one."""
        trial = self.next()
        if trial is not None:
            self._queue.appendleft(trial)
        return trial is not None

    def put_off(self, trial: Trial) -> None:
        """Have the next trial begun when the others have been."""
        self._queue.append(trial)

    def write(self, trial: Trial) -> None:
        """Take in a new trial."""
        self.ledger.write("trial", sync=True, number=trial.number, point=trial.point, values=trial.values,
                          params=trial.params, extra=trial.extra, overrides=trial.overrides,
                          folder=trial.folder)  # fmt: skip
        self.by_point.setdefault(trial.point, []).append(self.ledger.trials[trial.number])

    def write_all(self, point: Point) -> None:
        """Take in the runs at a point, one for each seed, but those that there are."""
        for trial in self._trials_of(point):
            self.write(trial)

    def enqueue(self, point: int) -> None:
        """Have a point's trials run; with a pruner the repetitions wait until the first has passed."""
        trials = [trial for trial in self.by_point[point] if trial.status not in ENDED]
        if self.options.pruner != "none" and self.by_point[point][0].status == "pruned":
            self._leave_out(trials)  # the process before this one did not come to it
            self.tell(point)
            return
        if self.options.pruner != "none" and len(trials) == self.options.seeds:
            self._held[point] = trials[1:]
            trials = trials[:1]
        self._queue.extend(trials)

    def _trials_of(self, point: Point) -> list[Trial]:
        known = [trial.extra for trial in self.by_point.get(point.number, ())]
        number = max(self.ledger.trials, default=-1)
        found = []
        for repetition in range(self.options.seeds):
            extra = [f"{SEED}={self._base_seed + repetition}"] if self.options.seeds > 1 else []
            if extra in known:
                continue
            number += 1
            while (self.folder / str(number)).exists():
                number += 1  # what a torn ledger has forgotten, and nobody could take up
            overrides = self.composer.overrides(point.values, tuple(extra))
            found.append(Trial(number, point.number, point.values, point.params, extra, overrides, str(number)))
        return found

    # --- what happens to one

    def begin(self, trial: Trial) -> None:
        """An attempt begins."""
        self._begun = True
        self.ledger.write("attempt", number=trial.number, attempt=trial.attempts + 1, time=round(time.time(), 3))

    def can_prune(self, trial: Trial) -> bool:
        """Whether a trial is looked at after each evaluation: the first of its point, if there is a pruner."""
        return self.options.pruner != "none" and trial is self.by_point[trial.point][0]

    def report(self, trial: Trial, evaluation: int, row: dict[str, Any]) -> str:
        """Take in an evaluation.

        Args:
            trial: the trial.
            evaluation: counts them, from 1.
            row: as it is in the run's metrics.jsonl.

        Returns:
            why the trial is not worth going on with, or ''.
        """
        name, _ = self.ledger.objectives[0]
        value = row.get(name)
        trial.metrics = {key: one for key, one in row.items() if "/" in key and one is not None}
        trial.epochs = row["epoch"]
        if value is None or evaluation in trial.reports:
            return ""
        self.ledger.write("report", number=trial.number, evaluation=evaluation, value=value)
        if not self.can_prune(trial):
            return ""
        self.tell_report(trial.point, evaluation, value)
        behind = evaluation >= self.options.warmup and self.search.should_prune(trial.point)
        return f"{self.options.pruner} at evaluation {evaluation}: {name} {value}" if behind else ""

    def tell_report(self, point: int, evaluation: int, value: float) -> None:
        """Tell the search of one evaluation at a point."""
        direction = self.ledger.objectives[0][1] if self.ledger.objectives else "min"
        self.search.report(point, evaluation, value if direction == "min" else -value)

    def put_back(self, trial: Trial, attempts: int, error: str = "", now: bool = True) -> None:
        """Have a trial begun once more.

        Args:
            trial: the trial.
            attempts: how many count that were made.
            error: why the last one failed.
            now: by this process, and not when the sweep is taken up.
        """
        self.ledger.write("again", number=trial.number, attempts=attempts, error=error, sync=True)
        if now:
            self._queue.append(trial)

    def end(self, trial: Trial, status: str, error: str, seconds: float, outcome: Outcome | None) -> None:
        """A trial has ended for good.

        Args:
            trial: the trial.
            status: one of ENDED.
            error: why it failed; ''.
            seconds: how long it took, and before if it was taken up again.
            outcome: what its run left.
        """
        values = None
        if outcome and status in FINISHED:
            values = objective_values(outcome.metrics, outcome.epochs, self.ledger.objectives, seconds)
        self.ledger.write(
            "end", number=trial.number, attempt=trial.attempts, status=status, error=error, seconds=round(seconds, 3),
            metrics=outcome.metrics if outcome else {}, objective=values, epochs=outcome.epochs if outcome else 0,
            sync=True,
        )  # fmt: skip
        held = self._held.pop(trial.point, [])
        if status == "pruned":
            self._leave_out(held)
        else:
            self._queue.extend(held)
        self.tell(trial.point)

    def _leave_out(self, trials: list[Trial]) -> None:
        """Note that the other seeds of a pruned point are not trained."""
        for trial in trials:
            self.ledger.write("end", number=trial.number, attempt=0, status="pruned", seconds=0.0, metrics={},
                              error="", objective=None, epochs=0)  # fmt: skip

    def tell(self, point: int) -> bool:
        """Tell the search what came out of a point, once; whether all of its trials have ended."""
        trials = self.by_point[point]
        if any(trial.status not in ENDED for trial in trials):
            return False
        if point not in self._told:
            self._told.add(point)
            signs = [1.0 if direction == "min" else -1.0 for _, direction in self.ledger.objectives]
            found = [trial.objective for trial in trials if trial.objective is not None and trial.status != "pruned"]
            values = aggregate(found)
            if values is not None:
                values = [sign * value for sign, value in zip(signs, values, strict=True)]
            self.search.tell(point, values, any(trial.status == "pruned" for trial in trials))
        return True

    def settle(self, monitor: str, directions: dict[str, str]) -> None:
        """Learn from the first run which metrics there are.

        Raises:
            UserError: the objective is none of them.
        """
        if not self.ledger.objectives and directions:
            found = resolve_objectives(self.options.objectives, monitor, directions)
            self.ledger.write("objectives", objectives=found, sync=True)
