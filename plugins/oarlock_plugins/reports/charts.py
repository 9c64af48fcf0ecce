"""What the charts of the page show, as one JSON object: axes, points, curves, the front, configurations."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from oarlock_plugins.reports.collect import Collection, Run
from oarlock_plugins.reports.importance import importance
from oarlock_plugins.reports.rows import Row, fact, metrics
from oarlock_plugins.reports.values import finite, setting
from oarlock_plugins.sweeps.ranking import rank

# A curve has no more points than a screen shows.
MOST_POINTS = 200
# A positive number that spans so much is drawn in its logarithm.
LOG_SPAN = 30.0


def chart_data(found: Collection, rows: Sequence[Row], page: Path) -> dict[str, Any]:
    """The data of the page.

    Args:
        found: the runs.
        rows: those that are shown, best first.
        page: the folder of the page; links are relative to it.
    """
    runs = [run for row in rows for run in row.runs]
    index = {id(run): number for number, run in enumerate(runs)}
    ranked = [row for row in rows if row.place is not None]
    pruned = [row for row in rows if row.best.trial.status == "pruned"
              and all(row.measure(name) for name, _ in found.objectives)]  # fmt: skip
    shown = [*ranked, *pruned]
    objectives = [{"key": name, "direction": direction,
                   **_axis([row_mean(row, name) for row in shown], log=direction == "min")}
                  for name, direction in found.objectives]  # fmt: skip
    axes = [{"key": key, **_axis([row.value(key) for row in shown])} for key in found.varied
            if not any(_mixed(row, key) for row in shown)]  # fmt: skip
    axes = [axis for axis in axes if axis["kind"]]
    sign = -1.0 if found.objectives and found.objectives[0][1] == "max" else 1.0
    settings = [{axis["key"]: row.value(axis["key"]) for axis in axes} for row in shown]
    costs = [sign * row_mean(row, found.objectives[0][0]) for row in ranked]
    config, same = _configs(runs)
    order = metrics(found)
    return finite({
        "objectives": objectives,
        "axes": axes,
        "points": [{"run": index[id(row.best)], "runs": [index[id(run)] for run in row.runs], "front": row.on_front,
                    "values": values, "found": [row.measure(name) for name, _ in found.objectives],
                    "seconds": (row.measure("seconds") or [None])[0]}
                   for row, values in zip(shown, settings, strict=True)],
        "ranked": len(ranked),
        "importance": importance(settings[: len(ranked)], costs, axes),
        "cost": _cost(found, ranked, shown),
        "metrics": _measured(runs, [name for name, _ in found.objectives] + order),
        "directions": found.directions,
        "runs": [{"name": name_of(found, run), "status": run.trial.status, "href": link(run.folder, page),
                  "metrics": run.metrics, "config": one, **_curve(run)}
                 for run, one in zip(runs, config, strict=True)],
        "same": same,
        "single": found.single,
    })  # fmt: skip


def _mixed(row: Row, key: str) -> bool:
    """Whether the runs of a point differ in a value, as in their seeds."""
    return row.value(key) is None and any(key in run.config for run in row.runs)


def row_mean(row: Row, name: str) -> float:
    return (row.measure(name) or (math.nan, None))[0]


def name_of(found: Collection, run: Run) -> str:
    """The folder of a run as it is seen from that of the report."""
    return os.path.relpath(run.folder, found.folder) if run.folder != found.folder else run.folder.resolve().name


def link(path: Path, page: Path) -> str:
    """A relative address from the page's folder."""
    return quote(os.fsencode(os.path.relpath(path.resolve(), page.resolve())))


def _axis(values: Sequence[Any], log: bool = True) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, (int, float)) for value in known):
        low, high = min(known), max(known)
        kind = "log" if log and low > 0 and high / low >= LOG_SPAN else "linear"
        # Means over the same runs in another order differ in their last bit, and have no ticks between them.
        return {"kind": "" if math.isclose(low, high, rel_tol=1e-9) else kind, "domain": [low, high]}
    texts = sorted({str(value) for value in known}, key=_natural)
    return {"kind": "category" if len(texts) > 1 else "", "values": texts}


def _natural(text: str) -> list[tuple[int, float, str]]:
    """`[32]` stands before `[128]`."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(1, float(part), "") if number % 2 else (0, 0.0, part) for number, part in enumerate(parts)]


def _cost(found: Collection, ranked: Sequence[Row], shown: Sequence[Row]) -> dict[str, Any] | None:
    """With one objective, which points no other beats in both it and the time that a run took."""
    if len(found.objectives) != 1 or found.objectives[0][0] == "seconds":
        return None
    name = found.objectives[0][0]
    trials = {}
    for number, row in enumerate(ranked):
        seconds = row.measure("seconds")
        if seconds is not None:
            trials[number] = replace(row.best.trial, number=number, point=number,
                                     objective=[row_mean(row, name), seconds[0]])  # fmt: skip
    front = [one.best.number for one in rank(trials.values(), [*found.objectives, ["seconds", "min"]]) if one.on_front]
    return {**_axis([(row.measure("seconds") or [None])[0] for row in shown]), "front": front}


def _measured(runs: Sequence[Run], first: Sequence[str]) -> list[str]:
    """The metrics that some run has a curve of, those of the objectives first."""
    names = {name for run in runs for row in run.history for name in row if "/" in name}
    return [*dict.fromkeys(name for name in first if name in names), *sorted(names - set(first))]


def _curve(run: Run) -> dict[str, Any]:
    rows = run.history
    if len(rows) > MOST_POINTS:
        stride = len(rows) / MOST_POINTS
        rows = [rows[int(number * stride)] for number in range(MOST_POINTS)] + rows[-1:]
    names = dict.fromkeys(name for row in rows for name in row if "/" in name)
    return {"epoch": [row.get("epoch") for row in rows], "step": [row.get("step") for row in rows],
            "curves": {name: [_short(row.get(name)) for row in rows] for name in names}}  # fmt: skip


def _short(value: Any) -> float | None:
    return float(f"{value:.6g}") if isinstance(value, (int, float)) else None


def _configs(runs: Sequence[Run]) -> tuple[list[dict[str, str]], dict[str, str | None]]:
    """What each run has of its own, and what is the same in all of them."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    texts = {key: {setting(fact(run, key)) if key in run.config else None for run in runs} for key in keys}
    same = {key: next(iter(values)) for key, values in texts.items() if len(values) == 1 and len(runs) > 1}
    return [{key: setting(value) for key, value in run.config.items() if key not in same} for run in runs], same
