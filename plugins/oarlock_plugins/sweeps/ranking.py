"""The points of a sweep, best first: seeds collapsed to mean and standard deviation, several objectives to a front."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oarlock import shown_path
from oarlock_plugins.sweeps.ledger import FINISHED, Trial

if TYPE_CHECKING:
    from oarlock_plugins.sweeps.driver import Driver

# More lines than a person reads; the report has them all.
MOST_LINES = 10


@dataclass
class Ranked:
    """A point with what its trials found.

    Attributes:
        means, deviations: for each objective; the deviation is that of the sample, 0 for one trial.
        best: its best trial by the first objective.
        on_front: whether no other point is at least as good in all objectives and better in one.
    """

    trials: list[Trial]
    means: list[float]
    deviations: list[float]
    best: Trial
    on_front: bool = True


def rank(trials: Iterable[Trial], objectives: Sequence[Sequence[str]]) -> list[Ranked]:
    """The points that have a result, best first by the first objective; with several, those of the front first."""
    points: dict[int, list[Trial]] = {}
    for trial in trials:
        if trial.status in FINISHED and trial.status != "pruned" and trial.objective is not None:
            points.setdefault(trial.point, []).append(trial)
    signs = [1.0 if direction == "min" else -1.0 for _, direction in objectives]
    ranked = []
    for found in points.values():
        columns = list(zip(*(trial.objective or () for trial in found), strict=True))
        means = [statistics.fmean(column) for column in columns]
        deviations = [statistics.stdev(column) if len(column) > 1 else 0.0 for column in columns]
        best = min(found, key=lambda trial: signs[0] * (trial.objective or [0.0])[0])
        ranked.append(Ranked(found, means, deviations, best))
    costs = [[sign * mean for sign, mean in zip(signs, one.means, strict=True)] for one in ranked]
    order = sorted(range(len(ranked)), key=lambda index: costs[index])
    front: list[list[float]] = []
    for index in order:  # what dominates a point stands before it
        ranked[index].on_front = not any(_dominates(other, costs[index]) for other in front)
        if ranked[index].on_front and costs[index] not in front[-1:]:
            front.append(costs[index])
    if len(signs) > 1:
        order.sort(key=lambda index: not ranked[index].on_front)
    return [ranked[index] for index in order]


def _dominates(one: list[float], other: list[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def summary(driver: Driver) -> str:
    """What is printed when a sweep has ended: the ranking, the failures, what to do with the best."""
    trials = driver.ledger.trials
    ranked = rank(trials.values(), driver.ledger.objectives)
    lines = []
    if ranked:
        names = ", ".join(f"{name} ({direction})" for name, direction in driver.ledger.objectives)
        several = len(driver.ledger.objectives) > 1
        lines.append(f"best first by {names}:" if not several else f"the Pareto front of {names}, then the rest:")
        shown = ranked[:MOST_LINES]
        for place, one in enumerate(shown, 1):
            mark = ("*" if one.on_front else " ") if several else f"{place:>3}"
            found = "  ".join(_value(mean, deviation, len(one.trials))
                              for mean, deviation in zip(one.means, one.deviations, strict=True))  # fmt: skip
            lines.append(f"{mark}  {found}  {_path(driver, one.best)}  {_assigned(one.best)}".rstrip())
        if len(ranked) > len(shown):
            lines.append(f"     and {len(ranked) - len(shown)} more")
    failed = [trial for trial in trials.values() if trial.status == "failed"]
    for trial in failed:
        log = driver.log(trial)
        where = f"; log: {shown_path(log)}" if log.is_file() else ""
        error = " ".join(trial.error.split("\n"))
        lines.append(f"failed: {_path(driver, trial)}: {error}{where}")
    if ranked:
        best = ranked[0].best
        lines.append(f"best run: {_path(driver, best)}")
        command = ["oarlock", "train", *driver.composer.flags, *best.overrides]
        lines.append(f"repeat it: {shlex.join(command)}")
    pruned = sum(trial.status == "pruned" for trial in trials.values())
    finished = sum(trial.status in FINISHED for trial in trials.values()) - pruned
    waiting = len(trials) - finished - pruned - len(failed)
    counts = [f"{finished} finished"]
    counts += [f"{pruned} pruned"] if pruned else []
    counts += [f"{waiting} to go on with"] if waiting else []
    lines.append(f"sweep: {shown_path(driver.folder)}, {', '.join([*counts, f'{len(failed)} failed'])}")
    return "\n".join(lines)


def _value(mean: float, deviation: float, count: int) -> str:
    return f"{mean:.4f} ± {deviation:.4f} ({count})" if count > 1 else f"{mean:.4f}"


def _assigned(trial: Trial) -> str:
    return " ".join(f"{key}={short(value)}" for key, value in trial.values.items())


def short(value: str) -> str:
    """A value as a person reads it: a number that a sampler drew is cut to four digits."""
    try:
        return value if len(value) <= 8 else f"{float(value):.4g}"
    except ValueError:
        return value


def _path(driver: Driver, trial: Trial) -> str:
    return shown_path(driver.folder / trial.folder)
