"""Which trials of a large sweep keep their folder: those of the best points, and those that failed."""

from __future__ import annotations

import bisect
import contextlib
import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from oarlock_plugins.sweeps.ledger import ENDED, FINISHED, Ledger, Trial

LOGS = "logs"


class KeptFolders:
    """The folders of a sweep's trials, of which a large sweep keeps the best.

    They are ranked as `rank` does, by their points; those of a point with seeds that have not ended are safe.

    Args:
        folder: the sweep's folder.
        most: how many may stay.
        total: how many trials there will be, where that is known.
        ledger: the trials.
    """

    def __init__(self, folder: Path, most: int, total: int | None, ledger: Ledger) -> None:
        self._folder, self._most, self._ledger = folder, most, ledger
        self._total = total
        self._removing = ThreadPoolExecutor(1, thread_name_prefix="removing")
        self._seeds: int = ledger.sweep["seeds"]
        # Those that have ended, of each point with seeds that have not.
        self._waiting: dict[int, list[Trial]] = {}
        # (cost of the point, point, cost, number) of those that have a folder, the best first.
        self._ranked: list[tuple[float, int, float, int]] = []
        for trial in ledger.trials.values():
            self.note(trial)

    @property
    def limited(self) -> bool:
        """Whether some trials will have no folder. Of several objectives none says which."""
        count = self._total if self._total is not None else len(self._ledger.trials)
        return count > self._most and len(self._ledger.objectives) == 1

    def bar(self) -> dict[str, Any] | None:
        """What a trial must be better than to get a folder when it ends; None where each has one from its start."""
        if not self.limited:
            return None
        name, direction = self._ledger.objectives[0]
        # One of several seeds cannot tell how good its point is.
        worst = self._ranked[-1][0] if self._seeds == 1 and len(self._ranked) >= self._most else None
        value = None if worst is None else worst if direction == "min" else -worst
        return {"name": name, "direction": direction, "value": value}

    def note(self, trial: Trial) -> None:
        """Take in a trial that has ended."""
        if trial.status not in ENDED:
            return
        trials = self._waiting.setdefault(trial.point, [])
        trials.append(trial)
        if len(trials) == self._seeds or trial.status == "pruned":  # then its point has no other
            del self._waiting[trial.point]
            self._rank(trials)

    def _rank(self, trials: list[Trial]) -> None:
        """Take in a point all of whose trials have ended."""
        sign = -1.0 if self._ledger.objectives and self._ledger.objectives[0][1] == "max" else 1.0
        costs = {trial.number: sign * trial.objective[0] for trial in trials
                 if trial.status in FINISHED and trial.status != "pruned" and trial.objective}  # fmt: skip
        mean = statistics.fmean(costs.values()) if costs else float("inf")
        for trial in trials:
            if trial.status in FINISHED and (self._folder / trial.folder).is_dir():
                bisect.insort(self._ranked, (mean, trial.point, costs.get(trial.number, float("inf")), trial.number))

    def tidy(self) -> None:
        """Have the folders of those that are not among the best removed: a disk takes as long as a short trial."""
        while self.limited and len(self._ranked) > self._most:
            self._removing.submit(self._remove, self._ledger.trials[self._ranked.pop()[-1]])

    def close(self) -> None:
        """Wait until what was to be removed is gone."""
        self._removing.shutdown()

    def _remove(self, trial: Trial) -> None:
        # What cannot be removed stays, and harms nothing.
        shutil.rmtree(self._folder / trial.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self._folder / LOGS / f"{trial.folder}.txt").unlink()
