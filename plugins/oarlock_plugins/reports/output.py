"""The ranking for a terminal, for grep, for a spreadsheet and for a program."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oarlock import UserError, shown_path
from oarlock_plugins.reports.collect import Collection, Run
from oarlock_plugins.reports.rows import COSTS, Row, check_column, fact, measure, metrics
from oarlock_plugins.reports.values import finite, measured, setting

# So many values that differ are shown by default; a folder of unlike runs has many more.
MOST_SETTINGS = 8


def chosen_columns(found: Collection, wanted: str | None, everything: bool) -> list[str]:
    """The columns that are asked for, or those that say most.

    Raises:
        UserError: there is no such column.
    """
    if wanted is not None:
        names = [name.strip() for name in wanted.split(",") if name.strip()]
        if not names:
            raise UserError("report: --columns: expected names with commas between them, such as status,folder.")
        for name in names:
            check_column(found, "columns", name)
        return names
    objectives = [name for name, _ in found.objectives]
    if everything:
        names = [*found.varied, *objectives, *metrics(found)]
    else:
        tests = [f"test/{name.partition('/')[2]}" for name in objectives if name.startswith("valid/")]
        names = [*found.varied[:MOST_SETTINGS], *objectives, *(name for name in tests if name in metrics(found))]
    return list(dict.fromkeys([*names, *COSTS, "status", "folder"]))


def as_json(found: Collection, rows: Sequence[Row], everything: bool) -> str:
    """One object: the objectives, the ranking, and each run with what became of it."""
    ranking = [{"place": row.place, "on_front": row.on_front, "folders": [str(run.folder) for run in row.runs],
                "means": {name: (row.measure(name) or [None])[0] for name, _ in found.objectives},
                "deviations": {name: (row.measure(name) or [None, None])[1] for name, _ in found.objectives}}
               for row in rows if row.place is not None]  # fmt: skip
    trials = [trial_of(run, run.config if everything else {key: run.config.get(key) for key in found.varied})
              for row in rows for run in row.runs]  # fmt: skip
    report = {"folder": str(found.folder), "objectives": found.objectives, "ranking": ranking, "trials": trials,
              "problems": found.problems}  # fmt: skip
    return json.dumps(finite(report), indent=2, allow_nan=False)


def trial_of(run: Run, config: dict[str, Any]) -> dict[str, Any]:
    """A run as a JSON object."""
    return {"folder": str(run.folder), "status": run.trial.status, "error": run.error,
            "overrides": run.trial.overrides, "config": config, "metrics": run.metrics,
            "epochs": run.trial.epochs, "seconds": run.trial.seconds,
            "log": str(run.log) if run.log else None, "command": shlex.join(run.command)}  # fmt: skip


def as_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A line for each run, in full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        for run in row.runs:
            values = [measure(run, name) if measure(run, name) is not None else fact(run, name) for name in columns]
            writer.writerow(["" if value is None else value for value in finite(values)])
    return text.getvalue().rstrip("\n")


def as_text(found: Collection, rows: Sequence[Row], columns: Sequence[str], sort: str | None, terminal: bool) -> str:
    """The table, then the failures with their logs, what could not be read, and how to repeat the best run."""
    failed = [row.best for row in rows if row.best.trial.status == "failed"]
    shown = [row for row in rows if row.best.trial.status != "failed"]
    lines = [heading(found, rows, sort)]
    if shown:
        seeds = any(len(row.runs) > 1 for row in shown)
        kept = [name for name in columns if any(row.value(name) is not None for row in shown)]
        several = len(found.objectives) > 1
        head = [*(["front"] if several else []), *kept, *(["runs"] if seeds else [])]
        cells = [[*(["*" if row.on_front else ""] if several else []), *(cell(row, name) for name in kept),
                  *([str(len(row.runs))] if seeds else [])] for row in shown]  # fmt: skip
        lines.append(_rich(head, cells) if terminal else _aligned(head, cells))
    for run in failed:
        log = f"; log: {shown_path(run.log)}" if run.log else ""
        lines.append(f"failed: {shown_path(run.folder)}: {' '.join(run.error.split()) or 'no reason is recorded'}{log}")
    lines += [f"damaged: {problem}" for problem in found.problems]
    best = next((row.best for row in sorted(rows, key=lambda row: row.place or len(rows) + 1) if row.place), None)
    if best is not None:
        if len(rows) > 1:
            lines.append(f"best run: {shown_path(best.folder)}")
        lines.append(f"repeat it: {shlex.join(best.command)}")
    return "\n".join(lines)


def heading(found: Collection, rows: Sequence[Row], sort: str | None) -> str:
    """How many runs of which kind, and in which order they stand."""
    runs = [run for row in rows for run in row.runs]
    counts = Counter(run.trial.status.replace("_", " ") for run in runs)
    kinds = ", ".join(f"{count} {status}" for status, count in counts.most_common()) or "none of them left"
    total = f"{len(runs)} of {len(found.runs)}" if len(runs) < len(found.runs) else str(len(runs))
    order = ""
    if sum(row.place is not None for row in rows) > 1:
        names = ", ".join(f"{name} ({direction})" for name, direction in found.objectives)
        several = len(found.objectives) > 1
        order = f"; sorted by {sort}" if sort else f"; the front of {names}, then the rest" if several else \
            f"; best first by {names}" if names else ""  # fmt: skip
    return f"{shown_path(found.folder)}: {total} run{'s' * (len(found.runs) != 1)}: {kinds}{order}"


def cell(row: Row, name: str) -> str:
    """What a person reads in a column."""
    found = row.measure(name)
    if name == "epochs" and found:
        return f"{found[0]:.4g}"
    if name == "seconds" and found:
        return f"{found[0]:.2f}" if found[0] < 10 else f"{found[0]:.1f}"
    if found:
        return measured(*found)
    value = row.value(name)
    if name in ("folder", "log"):
        return shown_path(Path(value)) if value else ""
    return setting(value)


def _aligned(head: list[str], cells: list[list[str]]) -> str:
    widths = [max(len(line[column]) for line in [head, *cells]) for column in range(len(head))]
    return "\n".join("  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip()
                     for line in [head, *cells])  # fmt: skip


def _rich(head: list[str], cells: list[list[str]]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    wide = max(len(line) for line in _aligned(head, cells).splitlines()) > console.width
    for name in head:
        table.add_column(Text(re.sub(r"(?<=[./_])(?=.)", "\n", name) if wide else name), overflow="fold")
    for line in cells:
        table.add_row(*(Text(text) for text in line))
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")
