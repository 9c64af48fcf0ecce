"""Processes on this machine: what they are started with, what they hold, how they ended."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path


def environment_of(environment: dict[str, str]) -> dict[str, str]:
    """An environment in which a Python process finds modules where this one does."""
    return {**environment, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}


def how_it_ended(code: int) -> str:
    """What an exit code says; negative ones are signals."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended with code {code}"


def processes_of(leader: int) -> list[int]:
    """The processes of a session."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[3]) == leader:
                found.append(int(entry.name))
    return found


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def memory_of(leader: int) -> int:
    """Bytes that the processes of a session hold: a worker and its children, the loaders."""
    return sum(_resident(pid) for pid in processes_of(leader))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return 0
