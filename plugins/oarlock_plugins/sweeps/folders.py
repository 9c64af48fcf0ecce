"""Which trials of a large sweep keep their folder: the best, and those that failed."""

from __future__ import annotations

import bisect
import contextlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from oarlock_plugins.sweeps.ledger import FINISHED, Ledger, Trial

LOGS = "logs"


class KeptFolders:
    """The folders of a sweep's trials, of which a large sweep keeps the best.

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
        # (cost, number) of those that have a folder, the best first.
        self._ranked: list[tuple[float, int]] = []
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
        worst = self._ranked[-1][0] if len(self._ranked) >= self._most else None
        value = None if worst is None else worst if direction == "min" else -worst
        return {"name": name, "direction": direction, "value": value}

    def note(self, trial: Trial) -> None:
        """Take in a trial that has ended."""
        if trial.status in FINISHED and (self._folder / trial.folder).is_dir():
            direction = self._ledger.objectives[0][1] if self._ledger.objectives else "min"
            good = trial.objective is not None and trial.status != "pruned"
            value = trial.objective[0] if good and trial.objective else float("inf")
            bisect.insort(self._ranked, (value if direction == "min" or not good else -value, trial.number))

    def tidy(self) -> None:
        """Have the folders of those that are not among the best removed: a disk takes as long as a short trial."""
        while self.limited and len(self._ranked) > self._most:
            self._removing.submit(self._remove, self._ledger.trials[self._ranked.pop()[1]])

    def close(self) -> None:
        """Wait until what was to be removed is gone."""
        self._removing.shutdown()

    def _remove(self, trial: Trial) -> None:
        # What cannot be removed stays, and harms nothing.
        shutil.rmtree(self._folder / trial.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            (self._folder / LOGS / f"{trial.folder}.txt").unlink()
