"""The points of a sweep, best first: seeds collapsed to mean and standard deviation, several objectives to a front."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from oarlock_plugins.sweeps.ledger import FINISHED, Trial


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
