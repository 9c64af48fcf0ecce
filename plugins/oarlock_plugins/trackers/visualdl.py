"""VisualDL's log files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

from oarlock import component
from oarlock_plugins.trackers.tracker import Tracker, label


@component
class VisualDL(Tracker):
    """Log files for VisualDL: metrics by step, options and last metrics in its hyperparameters' tab.

    `pip install 'oarlock[visualdl]'`; look at them with `visualdl --logdir runs`.

    Args:
        directory: where to make a folder for the run; by default it is `visualdl` in the run's own.
    """

    name, package = "visualdl", "visualdl"
    not_in_names = re.compile("%")

    directory: Optional[str] = None

    def open(self, run, values):
        from visualdl import LogWriter

        folder = Path(self.directory) / label(run) if self.directory else run.folder / "visualdl"
        self._writer = LogWriter(logdir=str(folder), display_name=label(run))
        options = {key: value if type(value) in (int, float, str) else str(value) for key, value in values.items()}
        names = [self.fit(f"{split}/{name}") for split in run.splits if split != "train"
                 for name in ("loss", *run.measures)]  # fmt: skip
        if not run.step:
            self._writer.add_hparams(options, ["train/loss", *names])

    def write(self, row, step, time):
        for name, value in row.items():
            self._writer.add_scalar(tag=name, value=value, step=step, walltime=round(time * 1000))

    def close(self, status):
        self._writer.close()
