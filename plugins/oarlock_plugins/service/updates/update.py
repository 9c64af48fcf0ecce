"""An update: train from the live version on new rows, compare on rows that neither has seen, publish if not worse."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oarlock import (
    Exit,
    Interrupted,
    Run,
    RunFailed,
    Runner,
    UserError,
    hookimpl,
    load_run,
    shown_path,
    write_atomically,
)
from oarlock_plugins.service import models
from oarlock_plugins.service.bundle import RUN
from oarlock_plugins.service.export.writing import ON_CPU
from oarlock_plugins.service.updates import compare, plan, store
from oarlock_plugins.service.updates.locks import held_versions
from oarlock_plugins.service.updates.start import Options, Start, find_start

RECORD = "update.json"


class LastEvaluation:
    """What a run measured last, while it trained."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    @hookimpl
    def on_evaluation_end(self, run: Run, metrics: dict[str, float]) -> None:
        self.metrics = metrics


def update(model: Path, options: Options) -> Exit:
    """Make the next version of a model, if it is not worse. The caller holds the model's lock.

    Raises:
        UserError: the input is wrong; nothing was trained.
        RunFailed: training or export failed; the live version is untouched.
    """
    candidates = models.candidates(model)
    start = find_start(model, options)
    stays = f"{model.name} version {start.version} stays live"
    left_out = f"{start.known} known, {start.held} held out"
    if start.new is None:
        print(f"nothing to do: of {start.brought} rows none is new ({left_out}); {stays}")
        return Exit.DONE
    print(f"live: {model.name} version {start.version}\n"
          f"new rows: {len(start.new)} of {start.brought} ({left_out}); rows of before: {start.replayed}", flush=True)  # fmt: skip
    try:
        files = [*start.files, store.keep(model, start.new, start.marks)]
    except OSError as error:
        raise RunFailed(
            f"{shown_path(model / store.ROWS)}: the new rows cannot be kept: {error.strerror}\n{stays}"
        ) from error
    experiment = plan.planned(start.experiment, start.bundle.run, files, start.replay, start.version,
                              len(start.new) + start.replayed, options.frozen, options.overrides)  # fmt: skip
    folder, seen = _free_folder(model), LastEvaluation()
    run = f"run: {shown_path(folder)}"
    record = _record(model, options, start)
    try:
        Runner().train(experiment, folder, hooks=[seen], command=["oarlock", *sys.argv[1:]])
    except Interrupted as stop:
        print(f"stopped by {stop}; nothing was published, {stays}\n{run}", file=sys.stderr)
        return Exit.INTERRUPTED
    except RunFailed as error:
        _write(folder, {**record, "outcome": "failed", "reason": str(error)})
        raise
    candidate = load_run(folder, ON_CPU)  # as both will be served
    result = compare.measured(start.run, candidate, start.held_out, start.new, seen.metrics, options.allow_loss,
                              options.least_fit)  # fmt: skip
    count = len(start.held_out) if hasattr(start.held_out, "__len__") else None  # a stream does not know
    record |= {"compared_on": {"rows": start.split, "count": count}, "comparison": asdict(result)}
    on = f"{count} rows of {start.split}" if count is not None else f"the rows of {start.split}"
    if result.reason:
        _write(folder, {**record, "outcome": "refused", "reason": result.reason})
        print(f"refused: {result.reason}\n{result} on {on}; {stays}\n{run}", file=sys.stderr)
        return Exit.REFUSED
    try:
        path = _publish(model, folder, start, candidates, {**record, "outcome": "published"})
    except (UserError, RunFailed) as error:
        _write(folder, {**record, "outcome": "failed", "reason": str(error)})
        raise RunFailed(f"{error}\n{stays}; {run}") from error
    _write(folder, {**record, "outcome": "published", "version": int(path.name)})
    print(f"published: {model.name} version {path.name}\n{result} on {on}\nbundle: {shown_path(path)}\n{run}")
    return Exit.DONE


def _publish(model: Path, folder: Path, start: Start, candidates: list[int], record: dict[str, Any]) -> Path:
    """Export the run as the next version, unless the live one is another by now.

    Raises:
        RunFailed: it is, or the disk is full.
        UserError: the exported model would answer otherwise than the trained one, or a rollback is being made.
    """
    from oarlock_plugins.service.export.writing import write_bundle

    def fill(scratch: Path) -> None:
        write_bundle(folder, scratch, start.bundle.tolerance)
        _write(scratch / RUN, record)
        # Until it is published: what is withdrawn meanwhile would be overtaken by what was learned from it.
        publishing.enter_context(held_versions(model))
        if models.candidates(model) != candidates:
            raise RunFailed("other versions are live than when the update began, so it was not published; update again")

    try:
        with contextlib.ExitStack() as publishing:
            return models.publish(model.parent, model.name, fill)[0]
    except OSError as error:
        raise RunFailed(f"{shown_path(model)}: the bundle cannot be written: {error.strerror}") from error


def _record(model: Path, options: Options, start: Start) -> dict[str, Any]:
    """What update.json says whatever comes out."""
    assert start.new is not None
    return {
        "model": model.name, "from": start.version, "time": round(time.time(), 3),
        "files": [str(path) for path in options.data],
        "rows": {"brought": start.brought, "new": len(start.new), "known": start.known, "held_out": start.held,
                 "replayed": start.replayed},
        "batch_norm": "frozen" if options.frozen else "updated",
    }  # fmt: skip


def _free_folder(model: Path) -> Path:
    """`updates/run-7`, one beyond the last."""
    root = model / "updates"
    numbers = [int(path.name[4:]) for path in root.glob("run-*") if path.name[4:].isdigit()]
    return root / f"run-{max(numbers, default=0) + 1}"


def _write(folder: Path, record: dict[str, Any]) -> None:
    if folder.is_dir():  # a run that cannot even be built leaves none
        write_atomically(folder / RECORD, json.dumps(record, indent=2) + "\n")
