"""The rows of a report: points with their seeds collapsed, filtered and sorted by any column."""

from __future__ import annotations

import operator
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oarlock import UserError, nearest
from oarlock_plugins.reports.collect import Collection, Run
from oarlock_plugins.reports.values import number
from oarlock_plugins.sweeps.ranking import rank

# Columns beside the keys of a configuration and the metrics.
COSTS = ("epochs", "seconds")
FACTS = ("status", "folder", "error", "log")
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass
class Row:
    """One line of the ranking.

    Attributes:
        runs: those of one point that have a result, its best first; or one run that has none.
        place: counts the ranked points from 1; None for a run without a result.
        on_front: whether no other point is better in all objectives.
    """

    runs: list[Run]
    place: int | None = None
    on_front: bool = False

    @property
    def best(self) -> Run:
        return self.runs[0]

    def measure(self, name: str) -> tuple[float, float | None] | None:
        """Mean and standard deviation of a metric or a cost; one run has no deviation."""
        values = [value for run in self.runs if (value := measure(run, name)) is not None]
        if not values:
            return None
        return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None

    def value(self, column: str) -> Any:
        """What stands in a column; None where the runs of the point differ in it."""
        found = self.measure(column)
        if found is not None:
            return found[0]
        values = {str(value): value for run in self.runs if (value := fact(run, column)) is not None}
        if column in ("folder", "log") and values:
            return fact(self.best, column)
        return next(iter(values.values())) if len(values) == 1 else None


def measure(run: Run, name: str) -> float | None:
    """A metric or a cost of a run."""
    if name in run.metrics:
        return run.metrics[name]
    if name == "seconds":
        return run.trial.seconds or None
    return (run.trial.epochs or None) if name == "epochs" else None


def fact(run: Run, column: str) -> Any:
    """A value of a run's configuration, or one of FACTS; None where it has none."""
    facts = {"status": run.trial.status, "folder": str(run.folder), "error": run.error or None,
             "log": str(run.log) if run.log else None}  # fmt: skip
    return facts[column] if column in facts else run.config.get(column)


def make_rows(found: Collection, filters: Sequence[str], sort: str | None) -> list[Row]:
    """The rows, best first or as `sort` says; then the runs without a result.

    Args:
        found: the runs.
        filters: `optimizer=adam`, `valid/accuracy>0.9`. What a run was given is looked at before its seeds are
            collapsed, what was measured after it, so that no mean is one of the better seeds only.
        sort: a metric, best first, or another column, smallest first.

    Raises:
        UserError: a filter cannot be read, or there is no such column.
    """
    tests = [_test(found, one) for one in filters]
    runs = [run for run in found.runs if all(test(fact(run, name)) for name, test, measured in tests if not measured)]
    by_trial = {id(run.trial): run for run in runs}
    rows = []
    for place, one in enumerate(rank([run.trial for run in runs], found.objectives) if found.objectives else [], 1):
        trials = [one.best, *(trial for trial in one.trials if trial is not one.best)]
        rows.append(Row([by_trial.pop(id(trial)) for trial in trials], place, one.on_front))
    rows += [Row([run]) for run in by_trial.values()]
    rows = [row for row in rows if all(test(row.value(name)) for name, test, measured in tests if measured)]
    if sort is not None:
        check_column(found, "sort", sort)
        sign = -1.0 if found.directions.get(sort) == "max" else 1.0
        rows.sort(key=lambda row: _order(row.value(sort), sign))
    return rows


def columns(found: Collection) -> dict[str, None]:
    """Every column that may be asked for."""
    names = dict.fromkeys(found.varied)
    for run in found.runs:
        names |= dict.fromkeys(run.config)
    return {**names, **dict.fromkeys(metrics(found)), **dict.fromkeys((*COSTS, *FACTS))}


def metrics(found: Collection) -> list[str]:
    """The metrics that any run has."""
    return list(dict.fromkeys(name for run in found.runs for name in run.metrics))


def check_column(found: Collection, flag: str, name: str) -> None:
    """
    Raises:
        UserError: there is no such column.
    """
    known = columns(found)
    if name not in known:
        more = ", ".join((*COSTS, *FACTS))
        raise UserError(f"report: --{flag} {name}: no run in {found.folder} has such a column.\n"
                        f"Expected a metric, a key of the configuration, or one of {more}.\n"
                        f"{nearest(name, known)}")  # fmt: skip


def _test(found: Collection, text: str) -> tuple[str, Any, bool]:
    """A filter as the column that it looks at, what it says of a value, and whether that is a measurement."""
    match = re.fullmatch(r"([^<>=!]+?) *(<=|>=|!=|==|=|<|>) *(.*)", text.strip())
    if match is None:
        raise UserError(f"report: --filter {text}: expected a column, a comparison and a value,\n"
                        "such as optimizer=adam, 'valid/accuracy>0.9' or status!=failed.")  # fmt: skip
    name, sign, wanted = match.groups()
    check_column(found, "filter", name)
    limit = number(wanted)
    if sign in COMPARE:
        if limit is None:
            raise UserError(f"report: --filter {text}: expected a number after '{sign}', not '{wanted}'.")

        def test(value: Any) -> bool:
            return isinstance(value, (int, float)) and COMPARE[sign](value, limit)
    else:
        spaceless = wanted.replace(" ", "")

        def test(value: Any) -> bool:
            same = value == limit if isinstance(value, (int, float)) else str(value).replace(" ", "") == spaceless
            return value is not None and same != (sign == "!=")

    return name, test, name in metrics(found) or name in COSTS


def _order(value: Any, sign: float) -> tuple[int, float, str]:
    if value is None:
        return 2, 0.0, ""
    return (0, sign * value, "") if isinstance(value, (int, float)) else (1, 0.0, str(value))
