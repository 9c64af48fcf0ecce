"""The driver of a sweep: fills every slot at once, notes everything in the ledger, and can be killed at any moment."""

from __future__ import annotations

import json
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from oarlock import Exit, UserError
from oarlock_plugins.sweeps.composer import Composer
from oarlock_plugins.sweeps.folders import LOGS, KeptFolders
from oarlock_plugins.sweeps.ledger import ENDED, FINISHED, Ledger, Trial
from oarlock_plugins.sweeps.options import Search as Options
from oarlock_plugins.sweeps.outcome import (
    Outcome,
    make_outcome,
    mark_failed,
    objective_values,
    read_outcome,
    resolve_objectives,
)
from oarlock_plugins.sweeps.pool import Pool, Worker
from oarlock_plugins.sweeps.ranking import rank
from oarlock_plugins.sweeps.search import Point, Search, aggregate

TICK_SECONDS = 0.2
# The option that the repetitions of a point differ in.
SEED = "seed"


class Display(Protocol):
    """Who shows how a sweep goes."""

    def update(self, driver: Driver) -> None:
        """A moment has passed."""

    def ended(self, driver: Driver, trial: Trial) -> None:
        """A trial has ended for good."""

    def close(self) -> None:
        """The sweep is over."""


class Driver:
    """Runs a sweep, from its beginning or from where its ledger stands.

    Attributes:
        ledger: everything that is known.
        interrupted: how many signals have asked for the end.
        running: the workers that train, by trial.
    """

    running: dict[int, Worker]

    def __init__(
        self, folder: Path, options: Options, composer: Composer, sampler: str, trials: int | None, display: Display
    ) -> None:
        self.folder, self.options, self.composer, self.display = folder, options, composer, display
        self.ledger = Ledger(folder)
        self.started = time.monotonic()
        self.interrupted = 0
        self._queue: deque[Trial] = deque()
        self._killed: dict[int, str] = {}
        self._points: dict[int, list[Trial]] = {}
        self._told: set[int] = set()
        self._held: dict[int, list[Trial]] = {}
        self._since: dict[int, float] = {}
        self._base_seed = self._seed()
        try:
            self._take_up(sampler, trials)
        except BaseException:
            self.ledger.close()
            raise

    def _take_up(self, sampler: str, trials: int | None) -> None:
        """Begin, or go on from where the ledger stands."""
        options = self.options
        self._begin(sampler)
        pruning = {"warmup": options.warmup, "reduction_factor": options.reduction_factor}
        points = {trial.point for trial in self.ledger.trials.values()}
        self.search = Search(self.composer, sampler, options.pruner, trials, options.sampler_seed,
                             max(1, len(options.objectives)), pruning, len(points))  # fmt: skip
        self._recover()
        self._kept = KeptFolders(self.folder, options.keep, self.total, self.ledger)

    # --- from beginning to end

    def run(self, pool: Pool) -> None:
        """Go on until there is nothing to do, or a signal comes."""
        with _Signals(self._note):
            while True:
                self.running = pool.running
                if not self.interrupted:
                    self._fill(pool)
                if not pool.running and (self.interrupted or not self.has_more()):
                    break
                for trial, message in pool.wait(TICK_SECONDS):
                    self._hear(pool, self.ledger.trials[trial], message)
                    if not self.interrupted:
                        self._fill(pool)  # a worker that is free waits for no disk
                self._kept.tidy()
                self.ledger.settle()
                self._watch(pool)
                self.display.update(self)
                if self.interrupted > 1:
                    break
                if self.interrupted:
                    for trial in list(pool.running):
                        if trial not in self._killed:
                            self._killed[trial] = ""
                            pool.tell(trial, {"do": "stop"})

    def run_batches(self, launch: Callable[[list[Trial]], None], size: int) -> None:
        """Go on with a launcher that takes a batch of trials and returns when all of them have ended."""
        while True:
            batch = []
            while len(batch) < size and (trial := self._next()) is not None:
                self._attempt(trial)
                batch.append(trial)
            if not batch:
                return
            started = time.monotonic()
            launch(batch)
            for trial in batch:
                outcome = read_outcome(self.folder / trial.folder)
                self._settle_objectives(outcome)
                if outcome is None or outcome.status not in ENDED:
                    error = self.folder / trial.folder / f"error-{trial.number}.txt"
                    said = error.read_text(encoding="utf-8").strip() if error.is_file() else "it left no record"
                    self._end(trial, "failed", said, time.monotonic() - started, outcome)
                else:
                    reason = outcome.reason if outcome.status == "failed" else ""
                    self._end(trial, outcome.status, reason, time.monotonic() - started, outcome)
            self._kept.tidy()
            self.ledger.settle()
            self.display.update(self)

    # --- what to run next

    def _fill(self, pool: Pool) -> None:
        while pool.idle is not None:
            trial = self._next()
            if trial is None:
                return
            self._attempt(trial)
            self._since[trial.number] = time.monotonic()
            try:
                experiment = self.composer.experiment(trial.values, tuple(trial.extra))
            except UserError as error:
                self._end(trial, "failed", str(error), 0.0, None)
                continue
            pool.submit(trial.number, {
                "experiment": asdict(experiment),
                "folder": str(self.folder / trial.folder),
                "log": str(self.log(trial)),
                "prunes": self._prunes(trial),
                "bar": self._kept.bar(),
            })  # fmt: skip

    def _next(self) -> Trial | None:
        if self._queue:
            return self._queue.popleft()
        seconds = self.options.timeout_seconds
        if seconds is not None and time.monotonic() - self.started > seconds:
            return None
        point = self.search.ask()
        if point is None:
            return None
        for trial in self._trials_of(point):
            self._write_trial(trial)
        self._enqueue(point.number)
        return self._queue.popleft()

    def has_more(self) -> bool:
        """Whether there is another trial; if so, it is the next one."""
        trial = self._next()
        if trial is not None:
            self._queue.appendleft(trial)
        return trial is not None

    def _trials_of(self, point: Point) -> list[Trial]:
        """The runs at a point, one for each seed."""
        first = max(self.ledger.trials, default=-1) + 1
        found = []
        for repetition in range(self.options.seeds):
            extra = [f"{SEED}={self._base_seed + repetition}"] if self.options.seeds > 1 else []
            number = first + repetition
            while (self.folder / str(number)).exists():
                first += 1  # what a torn ledger has forgotten, and nobody could take up
                number = first + repetition
            overrides = self.composer.overrides(point.values, tuple(extra))
            found.append(Trial(number, point.number, point.values, point.params, extra, overrides, str(number)))
        return found

    def _enqueue(self, point: int) -> None:
        """Have a point's trials run; with a pruner the repetitions wait until the first has passed."""
        trials = [trial for trial in self._points[point] if trial.status not in ENDED]
        if self.options.pruner != "none" and len(trials) == self.options.seeds:
            self._held[point] = trials[1:]
            trials = trials[:1]
        self._queue.extend(trials)

    def _prunes(self, trial: Trial) -> bool:
        return self.options.pruner != "none" and trial is self._points[trial.point][0]

    def _attempt(self, trial: Trial) -> None:
        self.ledger.write("attempt", number=trial.number, attempt=trial.attempts + 1, time=round(time.time(), 3))

    # --- what comes back

    def _hear(self, pool: Pool, trial: Trial, message: dict[str, Any]) -> None:
        kind = message["is"]
        if kind == "started":
            self._settle(message["monitor"], message["directions"])
        elif kind == "report":
            self._report(pool, trial, message)
        elif kind in ("done", "failed", "interrupted", "lost"):
            seconds = time.monotonic() - self._since.pop(trial.number, time.monotonic())
            self._finished(trial, kind, message.get("error", ""), seconds, message.get("outcome"))

    def _report(self, pool: Pool, trial: Trial, message: dict[str, Any]) -> None:
        name, direction = self.ledger.objectives[0]
        value = message["metrics"].get(name)
        evaluation = message["evaluation"]
        new = evaluation not in trial.reports
        if value is not None and new:
            self.ledger.write("report", number=trial.number, evaluation=evaluation, value=value)
        trial.metrics = {key: one for key, one in message["metrics"].items() if "/" in key and one is not None}
        trial.epochs = message["epoch"]
        if self._prunes(trial):
            behind = False
            if value is not None and new:
                self.search.report(trial.point, evaluation, value if direction == "min" else -value)
                behind = evaluation >= self.options.warmup and self.search.should_prune(trial.point)
            reason = f"{self.options.pruner} at evaluation {evaluation}: {name} {value}"
            pool.tell(trial.number, {"do": "verdict", "prune": behind, "reason": reason})

    def _finished(self, trial: Trial, kind: str, error: str, seconds: float, told: dict[str, Any] | None) -> None:
        outcome = read_outcome(self.folder / trial.folder)
        if outcome is None and told:
            outcome = make_outcome(told, told["history"])
        killed = self._killed.pop(trial.number, None)
        if kind == "done" and outcome is not None:
            self._end(trial, outcome.status, "", seconds, outcome)
        elif kind == "interrupted" or (kind == "lost" and killed == ""):
            # It has not failed: it is taken up again when the sweep is.
            self.ledger.write("again", number=trial.number, attempts=trial.attempts - 1, sync=True)
            if not self.interrupted:  # somebody else's signal to the worker: a cluster that takes its node back
                self._queue.append(trial)
        else:
            self._end(trial, "failed", killed or error, seconds, outcome)

    def _end(self, trial: Trial, status: str, error: str, seconds: float, outcome: Outcome | None) -> None:
        """A trial's attempt has ended; a failed one may be followed by another."""
        if status == "failed":
            mark_failed(self.folder / trial.folder, error)
            if trial.attempts <= self.options.retries:
                self.ledger.write("again", number=trial.number, attempts=trial.attempts, error=error, sync=True)
                self._queue.append(trial)
                return
        self._record_end(trial, status, error, seconds, outcome)
        self._kept.note(trial)
        self.display.ended(self, trial)

    def _record_end(self, trial: Trial, status: str, error: str, seconds: float, outcome: Outcome | None) -> None:
        values = objective_values(outcome, self.ledger.objectives, seconds) if outcome and status in FINISHED else None
        self.ledger.write(
            "end", number=trial.number, attempt=trial.attempts, status=status, error=error, seconds=round(seconds, 3),
            metrics=outcome.metrics if outcome else {}, objective=values, epochs=outcome.epochs if outcome else 0,
            sync=True,
        )  # fmt: skip
        held = self._held.pop(trial.point, [])
        if status == "pruned":
            for one in held:
                self.ledger.write("end", number=one.number, attempt=0, status="pruned", seconds=0.0, metrics={},
                                  error="", objective=None, epochs=0)  # fmt: skip
        else:
            self._queue.extend(held)
        self._tell(trial.point)

    def _tell(self, point: int) -> None:
        """Tell the search what came out of a point, once all of its trials have ended."""
        trials = self._points[point]
        if point in self._told or any(trial.status not in ENDED for trial in trials):
            return
        self._told.add(point)
        signs = [1.0 if direction == "min" else -1.0 for _, direction in self.ledger.objectives]
        found = [trial.objective for trial in trials if trial.objective is not None and trial.status != "pruned"]
        values = aggregate(found)
        if values is not None:
            values = [sign * value for sign, value in zip(signs, values, strict=True)]
        self.search.tell(point, values, any(trial.status == "pruned" for trial in trials))

    def _watch(self, pool: Pool) -> None:
        """End the trials that take too long or hold too much memory."""
        for number, worker in pool.running.items():
            seconds, limit = time.monotonic() - worker.since, self.options.trial_seconds
            if number in self._killed:
                continue
            if limit is not None and seconds > limit:
                self._kill(pool, number, f"time limit: {seconds:.1f} s, allowed are {limit:g} s")
            elif self.options.memory_bytes is not None and (held := pool.memory(number)) > self.options.memory_bytes:
                mib = 1 << 20
                self._kill(pool, number, f"memory limit: {held / mib:.0f} MiB, allowed are "
                                         f"{self.options.memory_bytes / mib:.0f} MiB")  # fmt: skip

    def _kill(self, pool: Pool, trial: int, why: str) -> None:
        self._killed[trial] = why
        pool.kill(trial)

    # --- what was before

    def _begin(self, sampler: str) -> None:
        """Note what the sweep is, or see that it is still what it was."""
        now = {
            "space": self.composer.space.describe(),
            "fixed": [*self.composer.space.fixed_structure, *self.composer.space.fixed_values],
            "sampler": sampler,
            "seeds": self.options.seeds,
            "objective": self.options.objectives,
            "base": self.composer.base_values(),
        }
        now = json.loads(json.dumps(now))
        before = self.ledger.sweep
        if not before:
            self.ledger.write("sweep", format=1, **now, sync=True)
            return
        changes = differences({key: before.get(key) for key in now}, now)
        if changes:
            raise UserError(f"{self.folder}: it is another sweep than it was.\n" + "\n".join(changes[:3]))

    def _recover(self) -> None:
        """Take up what an earlier driver has left: what its workers finished after it, what they were at."""
        for trial in list(self.ledger.trials.values()):
            self._points.setdefault(trial.point, []).append(trial)
        self._adopt()
        for point, trials in sorted(self._points.items()):
            self.search.restore(Point(point, trials[0].values, trials[0].params))
        for trial in self.ledger.trials.values():
            if trial.status == "failed" and trial.attempts <= self.options.retries:
                self.ledger.write("again", number=trial.number, attempts=trial.attempts, error=trial.error)
            if trial.status in ENDED:
                continue
            outcome = read_outcome(self.folder / trial.folder)
            if outcome is not None and outcome.status in FINISHED:
                self._settle_objectives(outcome)
                self._record_end(trial, outcome.status, "", trial.seconds, outcome)
            elif trial.status != "waiting":
                self.ledger.write("again", number=trial.number, attempts=max(0, trial.attempts - 1))
        self._queue.clear()
        self._held.clear()
        for point, trials in sorted(self._points.items()):
            direction = self.ledger.objectives[0][1] if self.ledger.objectives else "min"
            for evaluation, value in sorted(trials[0].reports.items()):
                self.search.report(point, evaluation, value if direction == "min" else -value)
            self._tell(point)
            if point not in self._told:
                self._enqueue(point)

    def _adopt(self) -> None:
        """Put the runs of folders that a torn ledger has forgotten back into it."""
        known = {trial.folder for trial in self.ledger.trials.values()}
        for folder in sorted(
            (path for path in self.folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)
        ):
            outcome = read_outcome(folder) if folder.name not in known else None
            if outcome is None:
                continue
            overrides = outcome.command[2 + len(self.composer.flags) :]
            found = self._point_of(overrides)
            if found is None:
                continue
            values, extra = found
            same = next((trials[0] for trials in self._points.values() if trials[0].values == values), None)
            point = same.point if same else max(self._points, default=-1) + 1
            params = same.params if same else self.composer.params(values)
            trial = Trial(int(folder.name), point, values, params, extra, overrides, folder.name)
            self._write_trial(trial)
            self.ledger.write("attempt", number=trial.number, attempt=1, time=None)

    def _point_of(self, overrides: list[str]) -> tuple[dict[str, str], list[str]] | None:
        """The values of the parameters in a run's overrides; None where it is no run of this sweep."""
        given = dict(override.partition("=")[::2] for override in overrides)
        values = {one.key: given[one.key] for one in self.composer.space.parameters if one.key in given}
        extra = [f"{SEED}={given[SEED]}"] if self.options.seeds > 1 and SEED in given else []
        try:
            same = self.composer.overrides(values, tuple(extra)) == overrides
        except KeyError:
            return None
        return (values, extra) if same else None

    def _write_trial(self, trial: Trial) -> None:
        self.ledger.write("trial", sync=True, number=trial.number, point=trial.point, values=trial.values,
                          params=trial.params, extra=trial.extra, overrides=trial.overrides,
                          folder=trial.folder)  # fmt: skip
        self._points.setdefault(trial.point, []).append(self.ledger.trials[trial.number])

    # --- odds and ends

    def log(self, trial: Trial) -> Path:
        """Where a trial's output is."""
        return self.folder / LOGS / f"{trial.folder}.txt"

    def _settle(self, monitor: str, directions: dict[str, str]) -> None:
        """Learn from the first run which metrics there are.

        Raises:
            UserError: the objective is none of them.
        """
        if not self.ledger.objectives:
            found = resolve_objectives(self.options.objectives, monitor, directions)
            self.ledger.write("objectives", objectives=found, sync=True)

    def _settle_objectives(self, outcome: Outcome | None) -> None:
        if outcome is not None and outcome.directions:
            self._settle(outcome.monitor, outcome.directions)

    def _seed(self) -> int:
        """The seed that repetitions count from."""
        if self.options.seeds == 1:
            return 0
        return int(self.composer.base_values()[SEED])

    def _note(self) -> None:
        self.interrupted += 1

    @property
    def total(self) -> int | None:
        """How many trials there will be, where that is known."""
        return self.search.total * self.options.seeds if self.search.total is not None else None

    def best(self) -> Trial | None:
        """The best trial so far."""
        ranked = rank(self.ledger.trials.values(), self.ledger.objectives)
        return ranked[0].best if ranked else None

    @property
    def code(self) -> Exit:
        """How the sweep has ended, for the shell."""
        if self.interrupted:
            return Exit.INTERRUPTED
        failed = any(trial.status == "failed" for trial in self.ledger.trials.values())
        return Exit.RUN_FAILED if failed else Exit.DONE


def differences(before: dict[str, Any], now: dict[str, Any], path: str = "") -> list[str]:
    """What differs between two nested dicts, a line each."""
    found = []
    for key in dict.fromkeys((*before, *now)):
        where = f"{path}.{key}".lstrip(".")
        one, other = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += differences(one, other, where)
        elif one != other:
            found.append(f"{where} was {one} and is {other}")
    return found


class _Signals:
    """While open, SIGINT, SIGTERM and SIGUSR1 are noted; Python's own handlers come back afterwards."""

    def __init__(self, note: Callable[[], None]) -> None:
        self._note = note
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            self._before[number] = signal.signal(number, lambda *_: self._note())

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
