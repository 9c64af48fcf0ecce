"""What a run was made of: components and libraries with their versions, and the revision of the user's own code."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oarlock.paddle_import import import_paddle
from oarlock.plugins import Host
from oarlock.record import RunFolder
from oarlock.run import Run


def new_record(host: Host, run: Run, command: Sequence[str] = ()) -> dict[str, Any]:
    """The first content of run.json."""
    now = time.time()
    return {
        "status": "running",
        "reason": "",
        "seed": run.config.seed,
        "device": run.device,
        "engine": run.engine,
        "runtime": run.runtime,
        "monitor": run.monitor,
        "direction": run.direction,
        "directions": run.directions,
        "total_steps": run.total_steps,
        **made_with(host, run.components_chosen),
        "git": run.kept.get("git revision", Path.cwd(), _git_revision),
        "cwd": str(Path.cwd()),
        "command": list(command) or ["oarlock", *sys.argv[1:]],
        "times": {"created": now, "started": now},
        "metrics": {},
        "best": None,
    }


def made_with(host: Host, chosen: dict[str, str]) -> dict[str, Any]:
    """Which component, of which version, is at each path; and the versions of what all of them stand on."""
    versions = {name: _version(name) for name in ("oarlock", "hydra-core", "omegaconf", "pluggy", "numpy")}
    versions |= {"python": platform.python_version(), "paddle": import_paddle().__version__}
    components = {}
    for path, component in chosen.items():
        plugin = host.registry.entries[component].plugin
        components[path] = {"component": component, "distribution": plugin.distribution, "version": plugin.version}
    return {"components": components, "versions": versions}


def current_versions(host: Host, record: RunFolder) -> tuple[dict[str, Any], list[str]]:
    """What the recorded components and libraries are today, and what of it is another version than recorded."""
    before = record.record
    now = made_with(host, {path: part["component"] for path, part in before["components"].items()})
    pairs = [(before["versions"].get(name), now["versions"][name], name) for name in ("oarlock", "paddle", "numpy")]
    for path, part in before["components"].items():
        current = now["components"][path]
        if part["distribution"] == current["distribution"]:
            pairs.append((part["version"], current["version"], part["distribution"]))
        else:
            pairs.append((part["distribution"], current["distribution"], f"the package of {path}"))
    changes = [f"{name} was {was} and is {is_now}" for was, is_now, name in pairs if was != is_now]
    return now, list(dict.fromkeys(changes))


@functools.cache
def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _git_revision() -> str | None:
    """The revision of the working folder, where it is under git."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
