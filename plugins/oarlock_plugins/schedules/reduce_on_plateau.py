"""A learning rate that follows a metric."""

from __future__ import annotations

import math
from typing import Optional

from oarlock import component, hookimpl
from oarlock_plugins.best_so_far import BestSoFar
from oarlock_plugins.ranges import within
from oarlock_plugins.schedules.warmup import warmed_up


@component
class ReduceOnPlateau:
    """The learning rate, multiplied by a factor whenever a metric has not improved for some evaluations.

    Args:
        monitor: the metric; by default the one of the run, trainer.monitor.
        factor: what the rate is multiplied by.
        patience: evaluations without improvement after which it is.
        min_delta: a smaller change is no improvement.
        cooldown: evaluations after a reduction that are not counted.
        min_factor: the rate never falls below this share of the learning rate.
        warmup_steps: optimizer steps over which the rate rises linearly.
    """

    monitor: Optional[str] = None
    factor: float = 0.1
    patience: int = 3
    min_delta: float = 0.0
    cooldown: int = 0
    min_factor: float = 0.0
    warmup_steps: int = 0

    def __post_init__(self):
        within(0, 1, factor=self.factor, min_factor=self.min_factor)
        within(1, math.inf, patience=self.patience)
        within(0, math.inf, min_delta=self.min_delta, cooldown=self.cooldown, warmup_steps=self.warmup_steps)
        self._best = BestSoFar(self.min_delta)
        self._reduced, self._spent, self._cooling = 1.0, 0, 0
        self._rates = []

    @hookimpl
    def build_schedule(self, learning_rate):
        self._rates.append(warmed_up(learning_rate, self.warmup_steps, lambda step: self._reduced))
        return self._rates[-1]

    @hookimpl
    def on_run_start(self, run):
        self._best.start("schedule.monitor", *run.resolve_monitor(self.monitor, "schedule.monitor"))

    @hookimpl
    def on_evaluation_end(self, metrics):
        if self._best.improves(metrics):
            self._spent = 0
        elif self._cooling == 0:
            self._spent += 1
        self._cooling = max(self._cooling - 1, 0)
        if self._spent >= self.patience:
            self._reduced = max(self._reduced * self.factor, self.min_factor)
            self._spent, self._cooling = 0, self.cooldown
            for rate in self._rates:
                rate.step(rate.last_epoch)  # for the step to come already

    def state_dict(self):
        return {"reduced": self._reduced, "best": self._best.best, "spent": self._spent, "cooling": self._cooling}

    def load_state_dict(self, state):
        self._reduced, self._best.best = state["reduced"], state["best"]
        self._spent, self._cooling = state["spent"], state["cooling"]
