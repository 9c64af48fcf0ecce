"""How a figure is given: with its range, and with what it was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from pathlib import Path


def description(*distributions: str) -> str:
    """One line: processor, cores that this process may use, Python and the distributions' versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in distributions)
    return f"{models[0] if models else platform.processor()}, {cores} cores, Python {platform.python_version()}, {versions}"


def spread(values, form="{:.3f}"):
    """Median and range."""
    return f"{form.format(statistics.median(values))} ({form.format(min(values))}..{form.format(max(values))})"
