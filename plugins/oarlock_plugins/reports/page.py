"""The page: one file with its style, its script and its data inside, that loads nothing from anywhere."""

from __future__ import annotations

import base64
import datetime
import errno
import hashlib
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from oarlock import shown_path, write_atomically
from oarlock_plugins.reports.charts import chart_data, link, name_of
from oarlock_plugins.reports.collect import Collection, Run
from oarlock_plugins.reports.output import cell, chosen_columns, heading
from oarlock_plugins.reports.rows import Row
from oarlock_plugins.reports.values import setting

TEMPLATE = Path(__file__).parent / "template"
SCRIPTS = ("start.js", "draw.js", "curves.js", "parallel.js", "scatter.js", "configs.js", "ranking.js")


def write_page(found: Collection, rows: Sequence[Row], target: Path) -> None:
    """Write the page, with its rows best first, in one rename: who reads it meanwhile has the old one whole.

    Raises:
        OSError: it cannot be written.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    target.parent.mkdir(parents=True, exist_ok=True)
    text = page(found, rows, target.parent)
    write_atomically(target, text.encode("utf-8", "backslashreplace").decode())


def page(found: Collection, rows: Sequence[Row], folder: Path) -> str:
    """The page as text; `folder` is where it will lie."""
    script = "\n".join((TEMPLATE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    best = next((row for row in rows if row.place), None)
    parts = {
        # Even a text that escaped from its quotes could neither run nor fetch anything.
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
                  "base-uri 'none'; form-action 'none'",
        "title": escape(found.folder.resolve().name),
        "style": (TEMPLATE / "page.css").read_text(encoding="utf-8"),
        "script": script,
        "data": _inert(json.dumps(chart_data(found, rows, folder), separators=(",", ":"), allow_nan=False)),
        "heading": escape(heading(found, rows, None).partition(": ")[2]),
        "made": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "summary": _summary(found, rows, best, folder),
        "ranking": _ranking(found, rows, folder),
        "failures": _failures(found, rows, folder),
        "single": "single" if found.single else "many",
    }  # fmt: skip
    template = (TEMPLATE / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _inert(text: str) -> str:
    """JSON in which no character can end the element that it stands in."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _summary(found: Collection, rows: Sequence[Row], best: Row | None, folder: Path) -> str:
    runs = [run for row in rows for run in row.runs]
    counts = Counter(run.trial.status.replace("_", " ") for run in runs)
    tiles = []
    if best is not None:
        names = [name for name, _ in found.objectives]
        names += [name for name in chosen_columns(found, None, False) if name.startswith("test/") and name not in names]
        for number, name in enumerate(names):
            what = name if found.single else f"{name} of the best" if number else f"best {name}"
            tiles.append((what, cell(best, name)))
    tiles.append(("runs", str(len(runs))) if not found.single else ("status", next(iter(counts), "")))
    if not found.single:
        tiles += [(status, str(count)) for status, count in counts.most_common()]
    tiles.append(("time, all runs" if not found.single else "time", _duration(sum(run.trial.seconds for run in runs))))
    parts = ['<dl class="tiles">', *(_tile(name, value) for name, value in tiles), "</dl>"]
    run = best.best if best is not None else runs[0] if found.single else None
    if run is not None:
        what = "Best run" if not found.single else "Run"
        given = " ".join(f"{key}={setting(run.config.get(key))}" for key in found.varied if key in run.config)
        parts.append(f'<p>{what}: <a href="{link(run.folder, folder)}/">{escape(shown_path(run.folder))}</a> '
                     f'<span class="muted">{escape(given)}</span></p>')  # fmt: skip
        parts.append('<p class="label" id="repeat">Repeat it with</p><div class="command"><code id="command">'
                     f"{escape(shlex.join(run.command))}</code>"
                     '<button type="button" id="copy" aria-describedby="repeat">Copy</button></div>')  # fmt: skip
    parts += [f'<p class="problem">{escape(problem)}</p>' for problem in found.problems]
    return "\n".join(parts)


def _tile(name: str, value: str) -> str:
    text = '<a href="#failures">' + escape(value) + "</a>" if name == "failed" else escape(value)
    return f"<div><dt>{escape(name)}</dt><dd>{text}</dd></div>"


def _ranking(found: Collection, rows: Sequence[Row], folder: Path) -> str:
    columns = [name for name in chosen_columns(found, None, False) if any(row.value(name) is not None for row in rows)]
    seeds = ["runs"] if any(len(row.runs) > 1 for row in rows) else []
    head = ["place", *columns, *seeds]
    lines = ["<thead><tr>", *(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in head),
             "</tr></thead>", "<tbody>"]  # fmt: skip
    number = 0
    for row in rows:
        place = f"{row.place or ''}{' *' if row.on_front and len(found.objectives) > 1 else ''}"
        cells = [f'<td data-v="{row.place or ""}">{place}</td>']
        for name in columns:
            text = escape(cell(row, name))
            if name == "folder":
                text = f'<a href="{link(row.best.folder, folder)}/">{escape(name_of(found, row.best))}</a>'
            value = row.value(name)
            numeric = isinstance(value, (int, float))
            exact = escape(repr(value) if numeric else str("" if value is None else value))
            cells.append(f'<td data-v="{exact}"{" class=n" if numeric else ""}>{text}</td>')
        cells += [f"<td class=n data-v={len(row.runs)}>{len(row.runs)}</td>"] if seeds else []
        lines.append(f'<tr data-run="{number}" tabindex="0">{"".join(cells)}</tr>')
        number += len(row.runs)
    return "\n".join([*lines, "</tbody>"])


def _failures(found: Collection, rows: Sequence[Row], folder: Path) -> str:
    failed = [run for row in rows for run in row.runs if run.trial.status == "failed"]
    if not failed:
        return ""
    return "\n".join(['<section id="failures"><h2>Failures</h2><ul class="failures">',
                      *(_failure(found, run, folder) for run in failed), "</ul></section>"])  # fmt: skip


def _failure(found: Collection, run: Run, folder: Path) -> str:
    given = " ".join(run.trial.overrides)
    log = f' · <a href="{link(run.log, folder)}">log</a>' if run.log else ""
    return (f'<li><p><a href="{link(run.folder, folder)}/">{escape(name_of(found, run))}</a>{log} '
            f'<span class="muted">{escape(given)}</span></p>'
            f"<pre>{escape(run.error or 'no reason is recorded')}</pre></li>")  # fmt: skip


def _duration(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest:.0f} s" if minutes else f"{rest:.1f} s"
