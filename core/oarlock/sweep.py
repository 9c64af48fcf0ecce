"""`oarlock train -m` with Hydra's own sweepers and launchers."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from oarlock import commands, config, vetting
from oarlock.errors import Exit, RunFailed, UserError, describe
from oarlock.plugins import Host, load_host
from oarlock.record import shown
from oarlock.training import Interrupted
from oarlock.translation import user_errors

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def grid(overrides: Sequence[str]) -> list[list[str]]:
    """Every point of a grid, as overrides.

    Raises:
        UserError: the sweep is not finite, or empty.
    """
    parsed = vetting.parse(overrides)
    for override in parsed:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise UserError(
                f"{override.input_line}: a grid needs a finite list: {override.key_or_group}=1,2,3 or choice(…) or range(…)."
            )
    points = [list(point) for point in BasicSweeper.split_arguments(parsed, None)[0]]
    if not points:
        raise UserError(f"{' '.join(overrides)}: one of the ranges is empty.")
    return points


def multirun(host: Host, overrides: Sequence[str], config_dir: str | None) -> int:
    """Run a sweep; every job is composed and checked before the first one starts."""
    loader = config.Loader(host, config_dir)
    composed = loader.load_configuration(config.CONFIG_NAME, list(overrides), RunMode.MULTIRUN)
    arguments = list(composed.hydra.overrides.task)
    context = HydraContext(config_loader=loader, callbacks=Callbacks(composed))
    with user_errors(host):
        sweeper = Plugins.instance().instantiate_sweeper(config=composed, hydra_context=context, task_function=job)
    if composed.hydra.sweeper._target_ == BASIC_SWEEPER:
        for point in grid([*_params(composed), *arguments]):
            loader.load_sweep_config(composed, point)
        # It would compose them once more, batch by batch, when the batches before have been trained.
        setattr(sweeper, "validate_batch_is_legal", lambda batch: None)  # noqa: B010
    folder = _new_folder(host, composed, overrides)
    # The jobs compose their configuration anew, also in other processes; the folder is the sweep's.
    quoted = str(folder).replace("'", "\\'")
    composed.hydra.overrides.hydra.append(f"++hydra.sweep.dir='{quoted}'")
    composed.hydra.sweep.dir = str(folder)
    logging.getLogger("hydra").setLevel(logging.WARNING)  # each job says in `job` what it is
    HydraConfig.instance().set_config(composed)
    OmegaConf.set_readonly(composed.hydra, False)
    try:
        sweeper.sweep(arguments)
    except SystemExit as stop:
        if stop.code != Exit.INTERRUPTED:
            raise
        print(f"stopped by a signal; what was finished is in {shown(folder)}", file=sys.stderr, flush=True)
        return Exit.INTERRUPTED
    return _summarise(folder)


def _params(composed: DictConfig) -> list[str]:
    """What a file says that the basic sweeper shall sweep over, as overrides."""
    batch_size = OmegaConf.select(composed, "hydra.sweeper.max_batch_size")
    if batch_size is not None and not (isinstance(batch_size, int) and batch_size > 0):
        raise UserError(f"hydra.sweeper.max_batch_size={batch_size}: expected at least 1")
    params = OmegaConf.select(composed, "hydra.sweeper.params")
    return [f"{key}={value}" for key, value in (params or {}).items()]


def job(composed: DictConfig) -> float:
    """One run of a sweep, in whatever process the launcher chose; the monitored value, NaN for a failure."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    print(f"{shown(folder)}: {' '.join(hydra.overrides.task)}", flush=True)
    try:
        # Two jobs whose subdir is the same get two folders.
        run = commands.train_config(load_host(), composed, folder, number=True)
    except Interrupted as stop:
        raise SystemExit(Exit.INTERRUPTED) from stop
    except Exception as error:
        # The other jobs go on; the failure stands in the run's record, or beside it, and in the summary.
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        message = str(error) if isinstance(error, (RunFailed, UserError)) else describe(error)
        print(f"error: {message}", flush=True)
        if not isinstance(error, RunFailed):
            (folder / f"error-{hydra.job.num}.txt").write_text(f"{message}\n", encoding="utf-8")
        return math.nan
    return float(run.best["value"]) if run.best else math.nan


def _new_folder(host: Host, composed: DictConfig, overrides: Sequence[str]) -> Path:
    """Make the sweep's folder: the one that was asked for, or the default with a number when it is taken."""
    with user_errors(host):
        base = str(composed.hydra.sweep.dir)
    if not base.strip() or "\0" in base:
        raise UserError(f"hydra.sweep.dir={base!r}: expected the path of a folder.")
    chosen = any(override.lstrip("+").startswith("hydra.sweep.dir=") for override in overrides)
    for number in range(1, 10_000):
        folder = Path(base if number == 1 else f"{base}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError as error:
            if not chosen:
                continue
            if folder.is_dir() and not any(folder.iterdir()):
                return folder
            raise UserError(f"{folder} exists already; choose another hydra.sweep.dir.") from error
        except OSError as error:
            raise UserError(f"{folder}: the sweep's folder cannot be made: {error.strerror}.") from error
    raise UserError(f"{base}: ten thousand sweeps have this name; choose another hydra.sweep.dir.")


def _summarise(folder: Path) -> int:
    """The runs, best first, and every failure; exit code 1 if there is one."""
    done: list[tuple[float, str]] = []
    failed: list[str] = []
    for job_folder in sorted((path for path in folder.rglob("*") if path.is_dir()), key=_natural):
        if (job_folder / "run.json").exists():
            record = json.loads((job_folder / "run.json").read_text(encoding="utf-8"))
            best = record["best"]
            if record["status"] not in ("completed", "early_stopped", "pruned"):
                failed.append(f"failed: {shown(job_folder)}: {record['reason'] or record['status']}")
            elif best is None:
                done.append((-math.inf, f"not evaluated  {shown(job_folder)}"))
            else:
                line = f"{best['monitor']} {best['value']:.4f}  {shown(job_folder)}"
                done.append((best["value"] if record["direction"] == "max" else -best["value"], line))
        elif not any(job_folder.iterdir()):
            failed.append(f"failed: {shown(job_folder)}: it left no record")
        for error in sorted(job_folder.glob("error-*.txt")):
            failed.append(f"failed: {shown(job_folder)}: {error.read_text(encoding='utf-8').strip()}")
    for _, line in sorted(done, key=lambda item: -item[0]):
        print(line)
    for line in failed:
        print(line)
    print(f"sweep: {shown(folder)}, {len(done)} finished, {len(failed)} failed")
    return Exit.RUN_FAILED if failed else Exit.DONE


def _natural(path: Path) -> list[str]:
    """A sort key that puts 10 after 9."""
    return [part.zfill(12) for part in path.parts]
