"""Train and resume, for the command line and for Python."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oarlock import checkpoint, config, snapshot, vetting
from oarlock.config_files import read_plain
from oarlock.core_commands import MULTIRUN
from oarlock.errors import UserError, nearest, shown_path
from oarlock.execution import execute
from oarlock.experiment import build_run, complete_run
from oarlock.new_run import Result, result_of, train_config
from oarlock.paddle_import import import_paddle
from oarlock.plugins import Host, load_host
from oarlock.provenance import current_versions
from oarlock.record import CONFIG, RunFolder
from oarlock.recorded import load_recorded, refuse_changed_data
from oarlock.run import Run
from oarlock.sealed import write_atomically
from oarlock.selection import flags_of
from oarlock.signals import Signals
from oarlock.warm_start import warm_start

# What a resumed run may change without becoming another run.
RESUMABLE = ("trainer.epochs", "trainer.max_steps", "trainer.checkpoint", "trainer.num_workers")


def train(overrides: Sequence[str] = (), *, config_dir: str | None = None, hooks: Sequence[object] = ()) -> Result:
    """Train one run, as `oarlock train` does.

    Args:
        overrides: as on the command line: `["optimizer=sgd", "trainer.epochs=3"]`.
        config_dir: a folder with more configuration files.
        hooks: objects with `@hookimpl` methods, called after those of the components.

    Raises:
        UserError: the overrides are not valid, or the parts do not fit.
        RunFailed: the run failed; its folder says how.
    """
    host = load_host()
    composed = None if MULTIRUN in vetting.as_list(overrides) else config.compose(host, overrides, config_dir)
    if composed is None or composed.sweeps:
        raise UserError(f"{' '.join(overrides)}: {MULTIRUN} makes this a sweep, and a sweep is a command: "
                        "oarlock train -m …")  # fmt: skip
    number = not composed.folder_chosen
    # What this process was started with is the user's program.
    files = ["--config-dir", config_dir] if config_dir else []
    command = ["oarlock", "train", *files, *flags_of(os.environ), *overrides]
    return result_of(train_config(host, composed.config, composed.folder, number=number, hooks=hooks, command=command))


def resume(
    folder: Path | str,
    overrides: Sequence[str] = (),
    say: Any = print,
    last: bool = False,
    allow_drift: bool = False,
    hooks: Sequence[object] = (),
    host: Host | None = None,
) -> Run | None:
    """Continue a run exactly where its newest intact checkpoint left it; None when there is nothing to do.

    Args:
        folder: the run's folder.
        overrides: what may change in it, such as `trainer.epochs=40`.
        say: takes the lines that a person should read.
        last: as for `train_config`.
        allow_drift: continue although other versions are installed than the run was made with.
        hooks: the caller's own hook implementations.
        host: the plugins, where they are loaded already.

    Raises:
        UserError: the folder is no run, an override would make another run of it, or versions have changed.
    """
    host, folder = host or load_host(), Path(folder)
    record = RunFolder(folder)
    for override in vetting.parse(overrides):
        if not any(override.key_or_group == key or override.key_or_group.startswith(key + ".") for key in RESUMABLE):
            raise UserError(
                f"{override.input_line}: a resumed run is the same run. {nearest(override.key_or_group, RESUMABLE)}\n"
                f"It accepts: {', '.join(RESUMABLE)}."
            )
    composed = load_recorded(host, record, overrides)
    now, changes = current_versions(host, record)
    if changes and not allow_drift:
        raise UserError(f"{shown_path(folder)}: since the run was made, {', '.join(changes)}.\n"
                        "It would not go on exactly; continue it all the same with --allow-drift.")  # fmt: skip
    import_paddle()  # before the signals are watched: it installs handlers of its own
    with Signals(last) as signals, record.locked():
        status = record.record["status"]
        if status in ("completed", "early_stopped", "pruned") and not overrides:
            say(f"{shown_path(folder)}: {status} already; to train longer give trainer.epochs=…")
            return None
        files, path = checkpoint.intact(folder)
        run = build_run(host, composed, record.record.get("runtime", {}), hooks)
        run.total_steps = record.record["total_steps"]  # a schedule keeps the shape that it began with
        state = json.loads(files[checkpoint.STATE]) if path is not None else {}
        run.recorded_engine = state.get("engine", "")
        complete_run(run)
        run.record = record
        root = folder / checkpoint.FOLDER
        if path is not None:
            refuse_changed_data(run, files, folder)
            snapshot.put_back(run, files, path.name)
            _refuse_shorter(run, overrides)
            if _longer(record, run):
                run.stop_reason, run.status = "", "running"
            run.history = record.truncate_metrics(int(state["rows"]))
            say(f"resuming {shown_path(folder)} from step {run.step}")
        else:
            if run.config.trainer.init_from:
                warm_start(run, Path(run.config.trainer.init_from))
            record.truncate_metrics(0)
            say(f"resuming {shown_path(folder)} from the start: it has no checkpoint")
        if root.is_dir():
            with contextlib.suppress(OSError):  # a read-only disk is reported when the next checkpoint is due
                checkpoint.set_aside_damaged(root, path)
        if changes:
            now["drift"] = [*record.record.get("drift", []), {"step": run.step, "changes": changes}]
        if overrides:
            _keep_changes(run)
            changed = {override.partition("=")[0] for override in overrides}
            command = [word for word in record.record["command"] if word.partition("=")[0] not in changed]
            now["command"] = [*command, *overrides]
        times = {**record.record["times"], "started": time.time()}
        record.update(status="running", reason="", engine=run.recorded_engine or run.engine, device=run.device,
                      runtime=run.runtime, times=times, **now)  # fmt: skip
        execute(run, signals)
    return run


def _refuse_shorter(run: Run, overrides: Sequence[str]) -> None:
    """A run cannot be given fewer steps than it has made."""
    trainer = run.config.trainer
    made = {"trainer.epochs": (trainer.epochs, run.epoch + (run.position > 0), "begun {} epochs"),
            "trainer.max_steps": (trainer.max_steps, run.step, "made {} steps")}  # fmt: skip
    for override in overrides:
        wanted, least, what = made.get(override.lstrip("+").partition("=")[0], (None, 0, ""))
        if wanted is not None and wanted < least:
            raise UserError(f"{override}: the run has {what.format(least)} already.")


def _longer(record: RunFolder, run: Run) -> bool:
    """Whether the run was given another length than the one that it is recorded with."""
    before = read_plain(record.path / CONFIG)[0]["trainer"]
    trainer = run.config.trainer
    return (trainer.epochs, trainer.max_steps) != (before["epochs"], before["max_steps"])


def _keep_changes(run: Run) -> None:
    """Make the changes part of the run, so that the next resume needs not be told again."""
    folder = run.on_disk().path
    trainer = run.config.trainer
    if run.step:
        checkpoint.write(folder / checkpoint.FOLDER, run.step, snapshot.take(run), trainer.checkpoint.keep)
    # Last: what is not written here is given anew with the same command.
    write_atomically(folder / CONFIG, run.text())
