"""`oarlock check`: everything that can be known before training, in seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from omegaconf import DictConfig

from oarlock import config, errors
from oarlock.errors import Exit, OarlockError, UserError
from oarlock.experiment import build_run, complete_run
from oarlock.optimization import trainable
from oarlock.plugins import Host
from oarlock.run import Run
from oarlock.sweep import Prepared
from oarlock.warm_start import warm_start

MOST_POINTS = 1_000


def preflight(host: Host, overrides: Sequence[str], config_dir: str | None, multirun: bool) -> int:
    """Compose, build and run one batch, for one run or for every run of a sweep; nothing is written.

    Raises:
        UserError: the single run is not valid. Of a sweep, all runs that are not are listed, of the first thousand.
    """
    if not multirun:
        composed = config.compose(host, overrides, config_dir)
        if not composed.sweeps:
            print(describe(checked(host, composed.config)))
            return Exit.DONE
    prepared = Prepared(host, overrides, config_dir)
    points = list(islice(prepared.points(MOST_POINTS + 1), MOST_POINTS + 1))
    more, points = len(points) > MOST_POINTS, points[:MOST_POINTS]
    of_hydra, failures = list(prepared.config.hydra.overrides.hydra), []
    for point in points:
        try:
            checked(host, config.compose(host, [*of_hydra, *point], config_dir).config)
        except Exception as error:  # whatever a component's code raises; the other points are looked at all the same
            said = str(error) if isinstance(error, OarlockError) else errors.describe(error)
            failures.append("\n  ".join([" ".join(point), *said.splitlines()]))
    for failure in failures:
        print(failure)
    rest = f"; there are more than these {MOST_POINTS}" if more else ""
    print(f"{len(points) - len(failures)} of {len(points)} points are valid{rest}")
    return Exit.BAD_INPUT if failures else Exit.DONE


def checked(host: Host, composed: DictConfig) -> Run:
    """A built run that has made one step.

    Raises:
        UserError: something does not fit.
    """
    run = build_run(host, composed)
    complete_run(run)
    if run.config.trainer.init_from:
        warm_start(run, Path(run.config.trainer.init_from))
    run.model.train()
    run.hook.on_run_start(run=run)
    batches = next(islice(run.feeder.epoch(0, 0), 1), None)
    if batches is None:
        raise UserError("data: there is no training batch.")
    (loss,) = run.read_losses([run.training_step(batches)])
    if not math.isfinite(loss):
        raise UserError(f"the first loss is {loss}: check the data and optimizer.learning_rate.")
    run.metrics, run.status = {"train/loss": loss}, "checked"
    run.hook.on_run_end(run=run)
    return run


def describe(run: Run) -> str:
    """What was built, and which parameters decay by whom."""
    lines = [f"{path}: {chosen}" for path, chosen in run.components_chosen.items()]
    parameters = trainable(run.model)
    lines.append(f"device: {run.device}, engine: {run.engine}, monitor: {run.monitor} ({run.direction})")
    lines.append(f"steps: {run.total_steps} ({run.feeder.steps_per_epoch} an epoch)")
    lines.append(f"parameters: {sum(int(parameter.size) for parameter in parameters.values())}")
    for path, parameter in parameters.items():
        decay = f"decays by {run.claims[path]}" if path in run.claims else "does not decay"
        lines.append(f"  {path} {list(parameter.shape)}: {decay}")
    lines.append(f"one step was made: loss {run.metrics['train/loss']:.4f}")
    return "\n".join(lines)
