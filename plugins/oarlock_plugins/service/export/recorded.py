"""The run inside a bundle: its record and one checkpoint, enough to train on and to evaluate."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oarlock import Damaged, UserError, load_run, shown_path, verify

RECORD = ("config.yaml", "run.json", "metrics.jsonl")
ENDED = ("completed", "early_stopped", "pruned")


def copy_run(source: Path, target: Path) -> dict[str, Any]:
    """Copy a run's record and its newest intact checkpoint; returns what the checkpoint says of itself.

    Raises:
        UserError: it is no run, or has no intact checkpoint.
    """
    read_record(source)
    target.mkdir()
    for name in RECORD:
        shutil.copyfile(source / name, target / name)
    for checkpoint in newest_first(source / "checkpoints"):
        copied = target / "checkpoints" / checkpoint.name
        try:
            shutil.copytree(checkpoint, copied)
            verify(copied)
            state: dict[str, Any] = json.loads((copied / "state.json").read_text(encoding="utf-8"))
            return state
        except (Damaged, OSError):  # a run that is training removes what it no longer keeps
            shutil.rmtree(copied, ignore_errors=True)
    raise UserError(f"{shown_path(source)}: it has no intact checkpoint.")


def newest_first(folder: Path) -> Iterator[Path]:
    """Checkpoints; `step-N.1` was made after `step-N`."""
    found = []
    for path in folder.glob("step-*"):
        if match := re.fullmatch(r"step-(\d+)(?:\.(\d+))?", path.name):
            found.append((int(match[1]), int(match[2] or 0), path))
    yield from (path for *_, path in sorted(found, reverse=True))


def read_record(source: Path) -> dict[str, Any]:
    """What run.json says.

    Raises:
        UserError: it is no run.
    """
    try:
        record: dict[str, Any] = json.loads((source / "run.json").read_text(encoding="utf-8"))
        if {"status", "components", "versions", "metrics"} <= set(record):
            return record
    except (OSError, ValueError, TypeError):
        pass
    load_run(source)  # it says what is wrong, and names the run that may be meant
    raise UserError(f"{shown_path(source)}: run.json is not the record of a run.")


def metrics_of(run: Path, state: dict[str, Any]) -> dict[str, float]:
    """What was measured with the best weights: the evaluation that chose them and, of an ended run, the test."""
    record, best = read_record(run), state["best"]
    if best is None:
        return {}
    found: dict[str, float] = {}
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # torn by a kill
            break
        if row["step"] == best["step"]:
            found = {name: value for name, value in row.items() if "/" in name and value is not None}
    if record["status"] in ENDED:
        found |= {name: value for name, value in record["metrics"].items()
                  if name.startswith("test/") and value is not None}  # fmt: skip
    return found
