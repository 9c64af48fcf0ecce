"""What a figure was measured on, how it is given, and where it is kept."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def processor():
    """The processor's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name", platform.processor())
    if "cpu family" in fields:
        # A virtual machine may hide the name; family and model say which generation it is.
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    widest = [one for one in ("avx512f", "avx2", "avx") if one in fields.get("flags", "").split()]
    return f"{name}, {widest[0]}" if widest else name


def cores():
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def description(*distributions: str) -> str:
    """One line: processor, cores that this process may use, Python and the distributions' versions."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in distributions)
    return f"{processor()}, {cores()} cores, Python {platform.python_version()}, {versions}"


def spread(values, form="{:.3f}"):
    """Median and range."""
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}..{form.format(max(values))})"


def summary(values):
    """Median and range, to be kept. The range of five rounds holds the true median with 94 % confidence."""
    return {"median": round4(statistics.median(values)), "low": round4(min(values)), "high": round4(max(values))}


def round4(value):
    """A number with four significant digits, which is more than any of these measurements has."""
    return float(f"{value:.4g}")


def results_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, default=RESULTS, help="where to keep the figures (%(default)s)")


def commit():
    """The commit that is measured; -dirty where something beside the figures and the page has been changed since."""
    where = [".", ":(exclude)benchmarks/results", ":(exclude)docs"]
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *where)
    return git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def git(*arguments):
    """What git says in this repository; '' where there is none."""
    done = subprocess.run(["git", *arguments], cwd=RESULTS.parent.parent, capture_output=True, text=True)
    return done.stdout.strip()


def file_of_today(folder, part):
    return folder / f"{part}-{datetime.date.today().isoformat()}.json"


def kept_today(folder, part):
    """The figures of a part that were kept today for the same commit; empty where there are none."""
    path = file_of_today(folder, part)
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return record if record.get("commit") == commit() else {}


def keep(folder, part, distributions, values):
    """Write the figures of a part of the benchmarks, with what they were measured on; returns the file."""
    path = file_of_today(folder, part)
    record = {
        "part": part, "date": datetime.date.today().isoformat(), "commit": commit(), "processor": processor(), "cores": cores(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in distributions}, **values,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def verdict(median, bar, at_least=True):
    """Whether a bar is met by a median; one that is missed within its interval is missed."""
    met = median >= bar if at_least else median <= bar
    return f"{'met' if met else 'MISSED'} ({'>=' if at_least else '<='} {bar:g})"
