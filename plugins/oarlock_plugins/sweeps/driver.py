"""The driver of a sweep: fills every slot at once, notes everything in the ledger, and can be killed at any moment."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from oarlock import Exit, UserError, stop_signals
from oarlock_plugins.sweeps.composer import Composer
from oarlock_plugins.sweeps.folders import KeptFolders
from oarlock_plugins.sweeps.held import GRACE_SECONDS, is_held
from oarlock_plugins.sweeps.ledger import ENDED, Trial
from oarlock_plugins.sweeps.options import Search as Options
from oarlock_plugins.sweeps.outcome import Outcome, make_outcome, mark_failed, read_outcome
from oarlock_plugins.sweeps.pool import Pool, Worker
from oarlock_plugins.sweeps.recovery import take_up
from oarlock_plugins.sweeps.trials import Trials

TICK_SECONDS = 0.2
# A trial that a signal stops so often without an evaluation between has failed: it may be its own signal.
MOST_STOPS = 3
# A trial that a worker without a driver is at is waited for so long: what holds it then will not leave by itself.
HELD_SECONDS = GRACE_SECONDS + 5.0


class Display(Protocol):
    """Who shows how a sweep goes."""

    def update(self, driver: Driver) -> None:
        """A moment has passed."""

    def ended(self, trials: Trials, trial: Trial) -> None:
        """A trial has ended for good."""

    def close(self) -> None:
        """The sweep is over."""


class Driver:
    """Runs a sweep, from its beginning or from where its ledger stands.

    Attributes:
        trials: what there is to run, and what came of it.
        interrupted: how many signals have asked for the end.
        running: the workers that train, by trial.

    Raises:
        UserError: another process holds the sweep, or it is another sweep than it was.
    """

    def __init__(
        self, folder: Path, options: Options, composer: Composer, sampler: str, limit: int | None, display: Display
    ) -> None:
        self.folder, self.options, self.display = folder, options, display
        self.interrupted = 0
        self.running: dict[int, Worker] = {}
        self._killed: dict[int, str] = {}
        self._since: dict[int, float] = {}
        self._stops: Counter[int] = Counter()
        self._held: dict[int, float] = {}
        self.trials = Trials(folder, options, composer)
        try:
            take_up(self.trials, sampler, limit)
        except BaseException:
            self.trials.ledger.close()
            raise
        self._kept = KeptFolders(folder, options.keep, self.trials.total, self.trials.ledger)

    def close(self) -> None:
        """Let go of the ledger, when the disk is as it says."""
        self._kept.tidy()  # a sweep that had ended may be asked for fewer folders
        self._kept.close()
        self.trials.ledger.close()

    @property
    def code(self) -> Exit:
        """How the sweep has ended, for the shell."""
        if self.interrupted:
            return Exit.INTERRUPTED
        failed = any(trial.status == "failed" for trial in self.trials.ledger.trials.values())
        return Exit.RUN_FAILED if failed else Exit.DONE

    # --- with workers that are spoken with

    def run(self, pool: Pool) -> None:
        """Go on until there is nothing to do, or a signal comes."""
        with _Signals(self._note):
            while True:
                self.running = pool.running
                if not self.interrupted:
                    self._fill(pool)
                if not pool.running and (self.interrupted or not self.trials.has_more()):
                    break
                for trial, message in pool.wait(TICK_SECONDS):
                    self._hear(pool, self.trials.ledger.trials[trial], message)
                    if not self.interrupted:
                        self._fill(pool)  # a worker that is free waits for no disk
                self._tidy()
                self._watch(pool)
                if self.interrupted > 1:
                    break
                if self.interrupted:
                    for trial in list(pool.running):
                        if trial not in self._killed:
                            self._killed[trial] = ""
                            pool.tell(trial, {"do": "stop"})

    def _fill(self, pool: Pool) -> None:
        while pool.idle is not None:
            trial = self.trials.next()
            if trial is None:
                return
            if self._is_held(trial):
                self.trials.put_off(trial)
                return
            self.trials.begin(trial)
            self._since[trial.number] = time.monotonic()
            try:
                experiment = self.trials.composer.experiment(trial.values, tuple(trial.extra))
            except UserError as error:
                self._end(trial, "failed", str(error), 0.0, None)
                continue
            pool.submit(trial.number, {
                "experiment": vars(experiment),
                "folder": str(self.folder / trial.folder),
                "log": str(self.trials.log(trial)),
                "prunes": self.trials.can_prune(trial),
                "bar": self._kept.bar(),
            })  # fmt: skip

    def _is_held(self, trial: Trial) -> bool:
        """Whether a worker without a driver is still saving a trial, and has not taken too long for it."""
        if not is_held(self.trials.log(trial)):
            return False
        now = time.monotonic()
        return now - self._held.setdefault(trial.number, now) < HELD_SECONDS

    def _hear(self, pool: Pool, trial: Trial, message: dict[str, Any]) -> None:
        kind = message["is"]
        if kind == "started":
            self.trials.settle(message["monitor"], message["directions"])
        elif kind == "report":
            del self._stops[trial.number]
            reason = self.trials.report(trial, message["evaluation"], message["metrics"])
            if self.trials.can_prune(trial):
                pool.tell(trial.number, {"do": "verdict", "prune": bool(reason), "reason": reason})
        elif kind in ("done", "failed", "interrupted", "lost"):
            seconds = time.monotonic() - self._since.pop(trial.number, time.monotonic())
            self._finished(trial, kind, message.get("error", ""), seconds, message.get("outcome"))

    def _finished(self, trial: Trial, kind: str, error: str, seconds: float, told: dict[str, Any] | None) -> None:
        outcome = read_outcome(self.folder / trial.folder)
        if outcome is None and told:
            outcome = make_outcome(told, told["history"])
        killed = self._killed.pop(trial.number, None)
        if kind == "interrupted" and not self.interrupted:
            self._stops[trial.number] += 1
            if self._stops[trial.number] == MOST_STOPS:
                del self._stops[trial.number]
                kind, error = "failed", f"stopped by {error} {MOST_STOPS} times without an evaluation between"
        if kind == "done" and outcome is not None:
            seconds = max(seconds, outcome.seconds)  # its own clock has what it took before it was taken up again
            if told is None:  # a worker without a driver had come to its end
                self.trials.settle(outcome.monitor, outcome.directions)
            self._end(trial, outcome.status, "", seconds, outcome)
        elif kind == "interrupted" or (kind == "lost" and killed == ""):
            # It has not failed: it is taken up again when the sweep is. Or at once, where the signal to the worker was
            # somebody else's: a cluster that takes its node back.
            self.trials.put_back(trial, trial.attempts - 1, now=not self.interrupted)
        else:
            self._end(trial, "failed", killed or error, seconds, outcome)

    def _watch(self, pool: Pool) -> None:
        """End the trials that take too long or hold too much memory."""
        for number, worker in pool.running.items():
            seconds, limit = time.monotonic() - worker.since, self.options.trial_seconds
            if self._killed.get(number):  # one that was only told to save itself has its limits still
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

    def _note(self) -> None:
        self.interrupted += 1

    # --- with a launcher that only returns

    def run_batches(self, launch: Callable[[list[Trial]], None], size: int) -> None:
        """Go on with a launcher that takes a batch of trials and returns when all of them have ended."""
        while True:
            batch: list[Trial] = []
            while len(batch) < size and (trial := self.trials.next()) is not None:
                self.trials.begin(trial)
                batch.append(trial)
            if not batch:
                return
            started = time.monotonic()
            launch(batch)
            for trial in batch:
                outcome = read_outcome(self.folder / trial.folder)
                # The batch ends with its slowest trial; how long each took is known to its run.
                seconds = (outcome.seconds if outcome is not None else 0.0) or time.monotonic() - started
                if outcome is not None:
                    self.trials.settle(outcome.monitor, outcome.directions)
                if outcome is None or outcome.status not in ENDED:
                    error = self.folder / trial.folder / f"error-{trial.number}.txt"
                    said = error.read_text(encoding="utf-8").strip() if error.is_file() else "it left no record"
                    self._end(trial, "failed", said, seconds, outcome)
                else:
                    reason = outcome.reason if outcome.status == "failed" else ""
                    self._end(trial, outcome.status, reason, seconds, outcome)
            self._tidy()

    # --- with either

    def _end(self, trial: Trial, status: str, error: str, seconds: float, outcome: Outcome | None) -> None:
        """A trial's attempt has ended; a failed one may be followed by another."""
        if status == "failed":
            mark_failed(self.folder / trial.folder, error)
            if trial.attempts <= self.options.retries:
                self.trials.put_back(trial, trial.attempts, error)
                return
        self.trials.end(trial, status, error, seconds, outcome)
        self._kept.note(trial)
        self.display.ended(self.trials, trial)

    def _tidy(self) -> None:
        self._kept.tidy()
        self.trials.ledger.settle()
        self.display.update(self)


class _Signals:
    """While open, `stop_signals` and SIGUSR1 are noted; Python's own handlers come back afterwards."""

    def __init__(self, note: Callable[[], None]) -> None:
        self._note = note
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (*stop_signals(), signal.SIGUSR1):
            self._before[number] = signal.signal(number, lambda *_: self._note())

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
