"""`oarlock train -m` with Hydra's own sweepers and launchers."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from oarlock import commands, config, vetting
from oarlock.errors import Exit, RunFailed, UserError, one_line
from oarlock.plugins import Host, load_host
from oarlock.record import shown
from oarlock.training import Interrupted


def grid(overrides: Sequence[str]) -> list[list[str]]:
    """Every point of a grid, as overrides.

    Raises:
        UserError: the sweep is not finite.
    """
    try:
        return [list(point) for point in BasicSweeper.split_arguments(vetting.parse(overrides), None)[0]]
    except (HydraException, AssertionError) as error:
        raise UserError(f"{' '.join(overrides)}: {one_line(error)}.") from error


def multirun(host: Host, overrides: Sequence[str], config_dir: str | None) -> int:
    """Run a sweep; every job is composed and checked before the first one starts."""
    overrides = list(overrides)
    loader = config.Loader(host, config_dir)
    with loader.user_errors():
        vetting.vet_overrides(overrides, host.registry)
    folder = next((text.partition("=")[2] for text in overrides if text.startswith("hydra.sweep.dir=")), None)
    if folder is None:
        folder = str(_new_folder())
        overrides.append(f"hydra.sweep.dir={folder}")
    version.setbase("1.3")
    logging.getLogger("hydra").setLevel(logging.WARNING)  # each job says in `job` what it is
    GlobalHydra.instance().clear()
    hydra = Hydra("oarlock", loader)
    GlobalHydra.instance().initialize(hydra)
    try:
        hydra.multirun(config.CONFIG_NAME, job, overrides, with_log_configuration=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise loader._translate(error) from error
    return _summarise(Path(folder))


def job(composed: DictConfig) -> float:
    """One run of a sweep, in whatever process the launcher chose; the monitored value, NaN for a failure."""
    host = load_host()
    folder = Path(HydraConfig.get().runtime.output_dir)
    print(f"{shown(folder)}: {' '.join(HydraConfig.get().overrides.task)}", flush=True)
    try:
        run = commands.train_config(host, composed, folder, number=False)
    except Interrupted as stop:
        raise SystemExit(Exit.INTERRUPTED) from stop
    except (RunFailed, UserError) as error:
        # The other jobs go on; the failure stands in the run's record and in the summary.
        print(f"error: {error}", flush=True)
        if folder.is_dir() and not (folder / "run.json").exists():
            (folder / "error.txt").write_text(f"{error}\n", encoding="utf-8")
        return math.nan
    return float(run.best["value"]) if run.best else math.nan


def _new_folder() -> Path:
    base = Path("sweeps", time.strftime("%Y-%m-%d"), time.strftime("%H-%M-%S"))
    for number in range(1, 10_000):
        folder = base if number == 1 else base.with_name(f"{base.name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise UserError(f"{base}: too many sweeps of this second.")


def _summarise(folder: Path) -> int:
    """The runs, best first, and every failure; exit code 1 if there is one."""
    done: list[tuple[float, str]] = []
    failed: list[str] = []
    for job_folder in sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.name.zfill(8)):
        record = _record(job_folder)
        best = record.get("best")
        if record["status"] in ("completed", "early_stopped", "pruned") and best:
            line = f"{best['monitor']} {best['value']:.4f}  {shown(job_folder)}"
            done.append((best["value"] if record["direction"] == "max" else -best["value"], line))
        else:
            failed.append(f"failed: {shown(job_folder)}: {record['reason']}")
    for _, line in sorted(done, key=lambda item: -item[0]):
        print(line)
    for line in failed:
        print(line)
    print(f"sweep: {shown(folder)}, {len(done)} finished, {len(failed)} failed")
    return Exit.RUN_FAILED if failed else Exit.DONE


def _record(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "run.json").read_text(encoding="utf-8")))
    except OSError:
        error = folder / "error.txt"
        return {"status": "failed", "reason": error.read_text().strip() if error.exists() else "it left no record"}
