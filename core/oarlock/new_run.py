"""A composed configuration, trained in a new folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from oarlock.execution import execute
from oarlock.experiment import build_run, complete_run
from oarlock.kept import Kept
from oarlock.paddle_import import import_paddle
from oarlock.plain import Experiment
from oarlock.plugins import Host
from oarlock.provenance import new_record
from oarlock.record import Draft, RunFolder
from oarlock.run import Run
from oarlock.signals import Signals
from oarlock.warm_start import warm_start

if TYPE_CHECKING:
    import paddle


@dataclass
class Result:
    """What a finished run leaves: its metrics, its folder, the trained model with the best weights.

    The model is in eval mode, and takes rows that the data's `preprocess` has gone over.
    """

    metrics: dict[str, float]
    best: dict[str, Any] | None
    folder: Path
    status: str
    reason: str
    model: paddle.nn.Layer


def result_of(run: Run) -> Result:
    """The public result of a run."""
    assert run.record is not None
    return Result(run.metrics, run.best, run.record.wanted, run.status, run.stop_reason, run.model)


def train_config(
    host: Host,
    composed: DictConfig,
    folder: Path,
    *,
    number: bool,
    last: bool = False,
    hooks: Sequence[object] = (),
    command: Sequence[str] = (),
    kept: Kept | None = None,
    keeps: Callable[[Run], bool] | None = None,
    experiment: Experiment | None = None,
) -> Run:
    """Train a composed configuration in a new folder, numbered when it is taken and `number` allows it.

    Args:
        host: the plugins.
        composed: the checked configuration.
        folder: the folder to make.
        number: whether another may be taken where this one is there already.
        last: whether the process has nothing to do afterwards, so that a signal after the run is ignored.
        hooks: the caller's own hook implementations.
        command: what to type for this run; by default what this process was started with.
        kept: what the runs of this process before this one have left for it.
        keeps: as for `Runner.train`.
        experiment: as for `build_run`.
    """
    import_paddle()  # before the signals are watched: it installs handlers of its own
    with Signals(last) as signals:
        run = build_run(host, composed, hooks=hooks, kept=kept, experiment=experiment)
        complete_run(run)
        if run.config.trainer.init_from:
            warm_start(run, Path(run.config.trainer.init_from))
        record = new_record(host, run, command)
        if keeps is not None:
            run.keeps, run.record = keeps, Draft(folder, run.text, record)
            try:
                execute(run, signals)
            finally:
                run.record.close()
            return run
        run.record = made = RunFolder.create(folder, run.text(), record, number=number)
        with made.locked():
            execute(run, signals)
    return run
