"""Which runs of a process one program can make, and which of them it was seen to."""

from __future__ import annotations

import json
import math
from typing import Any

from oarlock_plugins.dotted import dotted
from oarlock_plugins.engines.bystanders import may_change

# Hooks whose results are part of a program.
TRACED = (
    "prepare_parameters", "build_parameter_groups", "build_optimizer", "build_grad_clip", "forward", "compute_loss",
    "compute_penalty",
)  # fmt: skip
# Hooks before the first step, whose callbacks may change what a program is made of.
BEFORE = ("on_run_start", "on_epoch_start")
# Of the runs that a program need not be tried with, one in so many is.
ONE_IN = 16


def identity(run: Any) -> str:
    """All that a program may depend on beside shapes: two runs with one identity can be made by one program.

    '' where a hook of somebody else's than the run's components is part of it, or may change that. What `varying` has is left
    out.
    """
    for hook in (*TRACED, *BEFORE):
        others = [
            one.plugin for one in getattr(run.hook, hook).get_hookimpls() if one.plugin_name not in run.components
        ]
        if any(hook in TRACED or may_change(run, one) for one in others):
            return ""
    varied = varying(run)
    values = {path: value for path, value in dotted(run.values).items() if path not in varied}
    return json.dumps([run.components_chosen, run.config.trainer.precision.name, values], sort_keys=True, default=str)


def varying(run: Any) -> dict[str, Any]:
    """The options whose values are no part of a program, with their values.

    They are the seed, the learning rate, which is fed to a program, a schedule that is nothing but one, and what only
    decides when something happens. A component that makes a number of a program of one is found out by a trial.
    """
    parts = ["seed", "runtime", "trainer", "optimizer.learning_rate"]
    schedule = run.components.get("schedule")
    if [caller.name for caller in run.manager.get_hookcallers(schedule) or ()] == ["build_schedule"]:
        parts.append("schedule")
    within = tuple(f"{part}." for part in parts)
    return {path: value for path, value in dotted(run.values).items() if f"{path}.".startswith(within)}


class Tried:
    """The values of options that a program was tried with, and made the steps that eager makes.

    A program that two values leave the same leaves what is between them the same, unless something were done between two
    bounds alone. One run in ONE_IN is tried all the same.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, tuple[float, float]] = {}
        self._others: dict[str, set[str]] = {}
        self._runs = self._untried = 0

    def add(self, values: dict[str, Any]) -> None:
        """Note a run that the program was tried with."""
        self._runs += 1
        for path, value in values.items():
            if _is_number(value):
                low, high = self._numbers.get(path, (value, value))
                self._numbers[path] = min(low, value), max(high, value)
            else:
                self._others.setdefault(path, set()).add(repr(value))

    def covers(self, values: dict[str, Any]) -> bool:
        """Whether a run has no value but such as the program was tried with, or numbers between those.

        Of a program that was tried with the run that it was made for alone it is not known to be any other's.
        """
        return self._runs > 1 and all(self._knows(path, value) for path, value in values.items())

    def due(self) -> bool:
        """Whether this run, which is covered, is the one in so many to be tried."""
        self._untried += 1
        return self._untried % ONE_IN == 0

    def _knows(self, path: str, value: Any) -> bool:
        if _is_number(value):
            low, high = self._numbers.get(path, (math.inf, -math.inf))
            return low <= value <= high
        return repr(value) in self._others.get(path, ())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
