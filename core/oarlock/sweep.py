"""`oarlock train -m`: the folder and the record of a sweep, and the sweeper that Hydra's configuration names.

A sweeper of Hydra's runs its jobs and leaves their folders, which are summarised here. One that can do more says so:
it has `resumable = True`, its `prepare(arguments)` raises what is wrong with them before there is a folder, its
`points(arguments, limit)` gives the overrides of the runs that it would make, or of a sample of them, and its `sweep`
returns the exit code, having reported by itself.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shlex
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from oarlock import collector, commands, config, new_run, vetting
from oarlock.errors import Exit, RunFailed, UserError, describe, nearest, say, shown_path
from oarlock.loader import CONFIG_NAME, Loader, group_of, of_run
from oarlock.plugins import Host, load_host
from oarlock.record import RUN
from oarlock.sealed import write_text
from oarlock.selection import flags_of, with_flags
from oarlock.training import Interrupted
from oarlock.translation import user_errors

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
SWEEP = "sweep.json"
# What of a sweep may change when it is resumed without making another sweep of it; the sweeper decides on the rest.
RESUMABLE = ("sweep", "hydra.launcher", "hydra/launcher")


class Prepared:
    """A sweep that is composed and checked, with its sweeper, and not yet begun.

    Raises:
        UserError: anything in the overrides, or in a file that they name, is not valid.
    """

    def __init__(self, host: Host, overrides: Sequence[str], config_dir: str | None) -> None:
        self.host, self.overrides, self.config_dir = host, list(overrides), config_dir
        self.loader = Loader(host, config_dir)
        self.config = self.loader.load_configuration(CONFIG_NAME, self.overrides, RunMode.MULTIRUN)
        self.arguments: list[str] = OmegaConf.to_container(self.config.hydra.overrides.task, resolve=False)  # type: ignore[assignment]
        self.is_basic = self.config.hydra.sweeper._target_ == BASIC_SWEEPER
        OmegaConf.set_readonly(self.config.hydra, False)
        context = HydraContext(config_loader=self.loader, callbacks=Callbacks(self.config))
        with user_errors(host):
            self.sweeper: Any = Plugins.instance().instantiate_sweeper(
                config=self.config, hydra_context=context, task_function=job
            )
        if not self.resumable:
            for override in overrides:
                group = group_of(override, host.registry)
                if group.name and not group.of_run:
                    raise UserError(f"{override}: {type(self.sweeper).__name__} has no such option; leave out "
                                    "hydra/sweeper=…")  # fmt: skip

    @property
    def resumable(self) -> bool:
        return bool(getattr(self.sweeper, "resumable", False))

    def points(self, limit: int) -> Iterable[list[str]]:
        """The overrides of each run; of at most `limit` of them where there are more, or no end of them."""
        if hasattr(self.sweeper, "points"):
            points: Iterable[list[str]] = self.sweeper.points(self.arguments, limit)
            return points
        return grid([*_params(self.config), *self.arguments])

    def run(self, folder: Path) -> int:
        """Run it in its folder; returns the exit code."""
        collector.release()
        # The jobs compose their configuration anew, also in other processes; the folder is the sweep's.
        quoted = str(folder).replace("'", "\\'")
        self.config.hydra.overrides.hydra.append(f"++hydra.sweep.dir='{quoted}'")
        self.config.hydra.sweep.dir = str(folder)
        logging.getLogger("hydra").setLevel(logging.WARNING)  # each job says in `job` what it is
        HydraConfig.instance().set_config(self.config)
        OmegaConf.set_readonly(self.config.hydra, False)
        if self.is_basic:
            # It would compose them once more, batch by batch, when the batches before have been trained.
            setattr(self.sweeper, "validate_batch_is_legal", lambda batch: None)  # noqa: B010
        try:
            code = self.sweeper.sweep(self.arguments)
        except SystemExit as stop:
            if stop.code != Exit.INTERRUPTED:
                raise
            print(f"stopped by a signal; what was finished is in {shown_path(folder)}", file=sys.stderr, flush=True)
            return Exit.INTERRUPTED
        return int(code) if self.resumable else _summarise(folder)


def multirun(host: Host, overrides: Sequence[str], config_dir: str | None) -> int:
    """Run a sweep; what can be composed and checked before the first run starts, is."""
    prepared = Prepared(host, overrides, config_dir)
    if prepared.is_basic:
        for point in prepared.points(sys.maxsize):
            prepared.loader.load_sweep_config(prepared.config, point)
    elif prepared.resumable:
        prepared.sweeper.prepare(prepared.arguments)  # what is not valid is an error before there is a folder
    folder = _new_folder(host, prepared.config)
    record = {
        "overrides": list(overrides),
        "config_dir": str(Path(config_dir).absolute()) if config_dir else None,
        "command": ["oarlock", "train", *prepared.loader.flags, "-m", *overrides],
        "cwd": str(Path.cwd()),
        "created": time.time(),
    }
    if prepared.resumable:
        write_text(folder / SWEEP, json.dumps(record, indent=2) + "\n")
    return prepared.run(folder)


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a sweep, rather than of a run."""
    return (folder / SWEEP).is_file()


def resume(host: Host, folder: Path, overrides: Sequence[str]) -> int:
    """Continue a sweep where it stands; returns the exit code.

    Raises:
        UserError: it is not what it was, or an override would make another sweep of it.
    """
    try:
        record = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
        before, config_dir, command = list(record["overrides"]), record["config_dir"], list(record["command"])
        made = command[4 if config_dir else 2 : command.index("-m")]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(f"{shown_path(folder / SWEEP)} is not the record of a sweep: {error}") from error
    for override in vetting.parse(overrides):
        key = override.key_or_group
        if not any(key == name or key.startswith(f"{name}.") for name in RESUMABLE):
            hint = nearest(key, RESUMABLE)
            raise UserError(f"{override.input_line}: a resumed sweep is the same sweep. {hint}\n"
                            f"It accepts: {', '.join(f'{name}…' for name in RESUMABLE)}.")  # fmt: skip
    now = flags_of(os.environ)
    if set(made) != set(now):
        shown = shown_path(folder)
        raise UserError(f"{shown}: the sweep was made with {shlex.join(made) or 'all plugins'}, and is resumed with "
                        f"{shlex.join(now) or 'all plugins'}.\nGo on with: {shlex.join(['oarlock', 'resume', *made, shown])}")  # fmt: skip
    new = {override.partition("=")[0] for override in overrides}
    # Another launcher has other options.
    gone = ("hydra.sweep.dir=", "hydra.launcher.") if "hydra/launcher" in new else ("hydra.sweep.dir=",)
    kept = [override for override in before
            if not override.lstrip("+").startswith(gone) and override.partition("=")[0] not in new]  # fmt: skip
    host.manager.hook.on_sweep_requested(overrides=[*kept, *overrides])
    prepared = Prepared(host, [*kept, *overrides], config_dir)
    if not overrides:
        return prepared.run(folder.absolute())
    # So that the next one needs not be told again; but for what turns out to be of another sweep.
    file, text = folder / SWEEP, json.dumps(record, indent=2) + "\n"
    write_text(file, json.dumps({**record, "overrides": [*kept, *overrides]}, indent=2) + "\n")
    try:
        return prepared.run(folder.absolute())
    except UserError:
        write_text(file, text)
        raise


def grid(overrides: Sequence[str]) -> list[list[str]]:
    """Every point of a grid, as Hydra's basic sweeper makes it.

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
    folder, overrides = Path(hydra.runtime.output_dir), list(hydra.overrides.task)
    say(f"{shown_path(folder)}: {' '.join(overrides)}")
    host, failure = load_host(), folder / f"error-{hydra.job.num}.txt"
    failure.unlink(missing_ok=True)  # of an attempt before this one
    try:
        if _can_go_on(folder, overrides):
            run = commands.resume(folder, host=host)
            assert run is not None
        else:
            # Two jobs whose subdir is the same get two folders.
            command = ["oarlock", "train", *flags_of(os.environ), *overrides]
            composed = of_run(composed, host.registry)
            run = new_run.train_config(host, composed, folder, number=True, command=command)
    except Interrupted as stop:
        raise SystemExit(Exit.INTERRUPTED) from stop
    except Exception as error:
        # The other jobs go on; the failure stands in the run's record, or beside it, and in the summary.
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        message = str(error) if isinstance(error, (RunFailed, UserError)) else describe(error)
        say(f"error: {message}")
        if not isinstance(error, RunFailed):
            failure.write_text(f"{message}\n", encoding="utf-8")
        return math.nan
    return float(run.best["value"]) if run.best else math.nan


def _can_go_on(folder: Path, overrides: list[str]) -> bool:
    """Whether this very run was begun here and has not come to its end: one that failed is tried once more."""
    try:
        record = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (
        record["status"] in ("running", "interrupted", "failed") and record["command"][-len(overrides) :] == overrides
    )


def _new_folder(host: Host, composed: DictConfig) -> Path:
    """Make the sweep's folder: the one that was asked for, or the default with a number when it is taken."""
    with user_errors(host):
        base = str(composed.hydra.sweep.dir)
    if not base.strip() or "\0" in base:
        raise UserError(f"hydra.sweep.dir={base!r}: expected the path of a folder.")
    chosen = config.is_chosen(composed, "sweep")
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
            again = (
                f"Continue it with '{with_flags('resume', shown_path(folder))}', or choose"
                if is_sweep(folder)
                else "Choose"
            )
            raise UserError(f"{folder} exists already.\n{again} another hydra.sweep.dir.") from error
        except OSError as error:
            raise UserError(f"{folder}: the sweep's folder cannot be made: {error.strerror}.") from error
    raise UserError(f"{base}: ten thousand sweeps have this name; choose another hydra.sweep.dir.")


def _summarise(folder: Path) -> int:
    """The runs, best first, and every failure; exit code 1 if there is one."""
    done: list[tuple[float, str]] = []
    failed: list[str] = []
    runs: set[Path] = set()
    for job_folder in sorted((path for path in folder.rglob("*") if path.is_dir()), key=_natural):
        if not runs.isdisjoint(job_folder.parents):
            continue  # what a run keeps in its folder is its own affair
        if (job_folder / RUN).exists():
            runs.add(job_folder)
            record: dict[str, Any] = json.loads((job_folder / RUN).read_text(encoding="utf-8"))
            best = record["best"]
            if record["status"] not in ("completed", "early_stopped", "pruned"):
                failed.append(f"failed: {shown_path(job_folder)}: {record['reason'] or record['status']}")
            elif best is None:
                done.append((-math.inf, f"not evaluated  {shown_path(job_folder)}"))
            else:
                line = f"{best['monitor']} {best['value']:.4f}  {shown_path(job_folder)}"
                done.append((best["value"] if record["direction"] == "max" else -best["value"], line))
        elif not any(job_folder.iterdir()):
            failed.append(f"failed: {shown_path(job_folder)}: it left no record")
        for error in sorted(job_folder.glob("error-*.txt")):
            failed.append(f"failed: {shown_path(job_folder)}: {error.read_text(encoding='utf-8').strip()}")
    for _, line in sorted(done, key=lambda item: -item[0]):
        say(line)
    for line in failed:
        say(line)
    say(f"sweep: {shown_path(folder)}, {len(done)} finished, {len(failed)} failed")
    return Exit.RUN_FAILED if failed else Exit.DONE


def _natural(path: Path) -> list[str]:
    """A sort key that puts 10 after 9."""
    return [part.zfill(12) for part in path.parts]
