"""TensorBoard's event files."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Optional

from oarlock import component
from oarlock_plugins.trackers.tracker import Tracker, label


@component
class TensorBoard(Tracker):
    """Event files for TensorBoard: metrics by step, options and last metrics in its HPARAMS tab.

    `pip install 'oarlock[tensorboard]'`; look at them with `tensorboard --logdir runs`.

    Args:
        directory: where to make a folder for the run; by default it is `tensorboard` in the run's own.
    """

    name, package = "tensorboard", "tensorboardX"
    not_in_names = re.compile(r"[^-/\w.]")

    directory: Optional[str] = None

    def open(self, run, values):
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams

        folder = Path(self.directory) / label(run) if self.directory else run.folder / "tensorboard"
        # What a run wrote after the checkpoint that it is resumed from does not count; without one, nothing does. Files are
        # read in the order of their names, which have the second of their beginning; a run may be killed and resumed in one.
        self._writer = SummaryWriter(str(folder), purge_step=run.step + 1, filename_suffix=f".{time.time_ns()}")
        options = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in values.items()
        }
        names = {self.fit(f"{split}/{name}"): 0.0 for split in run.splits if split != "train"
                 for name in ("loss", *run.measures)}  # fmt: skip
        experiment, begin, self._session_end = hparams(options, {"train/loss": 0.0, **names})
        if not run.step:
            self._writer.file_writer.add_summary(experiment)
            self._writer.file_writer.add_summary(begin)
        self._writer.flush()

    def write(self, row, step, time):
        for name, value in row.items():
            self._writer.add_scalar(name, value, step, walltime=time)
        self._writer.flush()

    def close(self, status):
        # One that failed may be resumed too; TensorBoard keeps the first end that it is told, and the writer knows success alone.
        if status not in ("interrupted", "failed"):
            self._writer.file_writer.add_summary(self._session_end)
        self._writer.close()
