"""How a trial ended, from the folder of its run, whoever trained it and in whatever process."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oarlock import UserError, nearest, write_atomically
from oarlock_plugins.sweeps.ledger import written

# What may be an objective beside the metrics of a run, and its direction.
COSTS = {"seconds": "min", "epochs": "min"}


@dataclass
class Outcome:
    """What a run's folder says.

    Attributes:
        status: running, completed, early_stopped, pruned, interrupted or failed.
        reason: why, in a line; ''.
        metrics: those of the evaluation whose weights are the best, and those of the test.
        best: the monitored metric's name and value at that evaluation, or None.
        epochs: how many were trained.
        monitor: the metric that decides which weights are best.
        directions: of each metric, 'min' or 'max'.
        command: what to type for the same run.
        record: all that run.json has.
    """

    status: str
    reason: str
    metrics: dict[str, float]
    best: dict[str, Any] | None
    epochs: int
    monitor: str
    directions: dict[str, str]
    command: list[str]
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def overrides(self) -> list[str]:
        """What stands in the command behind the flags, whichever those are."""
        words = self.command[2:]
        while words and words[0].startswith("-"):
            words = words[1 if words[0] == "--no-autoload" else 2 :]
        return words

    @property
    def seconds(self) -> float:
        """How long the run took, by its own clock; 0 where that is not known."""
        times = self.record.get("times") or {}
        started, ended = times.get("started") or times.get("created"), times.get("ended")
        return times.get("seconds") or (round(ended - started, 3) if started and ended else 0.0)


def read_outcome(folder: Path) -> Outcome | None:
    """What a run's folder says; None where there is no run in it."""
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        history = read_history(folder)
    except (OSError, ValueError):
        return None
    return make_outcome(record, history)


def make_outcome(record: dict[str, Any], history: list[dict[str, Any]]) -> Outcome:
    """What a record says together with a run's evaluations; a worker tells both of a run that has no folder."""
    best = record.get("best")
    metrics = dict(record.get("metrics") or {})
    if best is not None:
        at_best = next((row for row in history if row.get("step") == best["step"]), {})
        metrics |= {name: value for name, value in at_best.items() if "/" in name}
        metrics[best["monitor"]] = best["value"]
    finite = {name: value for name, value in metrics.items() if value is not None}
    epochs = int(history[-1]["epoch"]) if history else 0
    return Outcome(record["status"], record["reason"], finite, best, epochs, record["monitor"],
                   record["directions"], record.get("command", []), record)  # fmt: skip


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a run; a torn last line is left out."""
    rows = []
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def mark_failed(folder: Path, reason: str) -> None:
    """Have a run's record say how it failed, where its own process could not any more.

    Raises:
        RunFailed: it cannot be written.
    """
    path = folder / "run.json"
    if not path.is_file():
        return
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["status"] not in ("running", "interrupted"):
        return
    record |= {"status": "failed", "reason": reason}
    with written(path):
        write_atomically(path, json.dumps(record, indent=2))


def resolve_objectives(wanted: list[str], monitor: str, directions: dict[str, str]) -> list[list[str]]:
    """Each objective with its direction.

    Args:
        wanted: the names that were asked for, `min:` or `max:` before one whose direction shall be another; empty
            for the monitored metric.
        monitor: the monitored metric.
        directions: the direction of each metric of the run.

    Raises:
        UserError: a run measures no such metric.
    """
    known = {**directions, **COSTS}
    found = []
    for one in wanted or [monitor]:
        direction, colon, name = one.partition(":")
        if not colon or direction not in ("min", "max"):
            direction, name = "", one
        if name not in known:
            # The test rows are not what to choose by, so they are not proposed.
            proposed = [other for other in known if name.startswith("test/") or not other.startswith("test/")]
            raise UserError(f"sweep.objective={name}: a run of this sweep measures no such metric. "
                            f"{nearest(name, proposed)}")  # fmt: skip
        found.append([name, direction or known[name]])
    return found


def objective_values(
    metrics: dict[str, float], epochs: int, objectives: list[list[str]], seconds: float
) -> list[float] | None:
    """The value of each objective; None where one is missing or not finite."""
    measured = {**metrics, "seconds": seconds, "epochs": float(epochs)}
    values = [measured.get(name) for name, _ in objectives]
    found = [float(value) for value in values if value is not None and math.isfinite(value)]
    return found if found and len(found) == len(values) else None
