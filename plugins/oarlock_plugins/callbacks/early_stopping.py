"""Stop when the validation metric no longer improves."""

from __future__ import annotations

import math
from enum import Enum
from typing import Optional

from oarlock import component, hookimpl
from oarlock_plugins.best_so_far import BestSoFar
from oarlock_plugins.ranges import within


class Form(Enum):
    """How evaluations without improvement are counted."""

    consecutive = "consecutive"
    balance = "balance"


@component
class EarlyStopping:
    """Stop when a metric no longer improves; the best weights are kept by the core, with or without it.

    `consecutive`: evaluations without improvement in a row spend the patience, a new best restores it in full.
    `balance`: a counter rises by 1 for an evaluation without improvement and falls by 1 for one with.

    Args:
        monitor: the metric; by default the one of the run, trainer.monitor.
        form: consecutive or balance.
        patience: for consecutive, evaluations without improvement after which to stop.
        min_delta: a smaller change is no improvement.
        min_epochs: so many epochs must have ended before an evaluation is counted.
        balance_start: for balance, the counter at the beginning.
        balance_limit: for balance, stop when the counter reaches it.
    """

    monitor: Optional[str] = None
    form: Form = Form.consecutive
    patience: int = 5
    min_delta: float = 0.0
    min_epochs: int = 0
    balance_start: int = 10
    balance_limit: int = 50

    def __post_init__(self):
        if self.patience < 1:
            raise ValueError(f"patience={self.patience}: expected at least 1")
        within(0, math.inf, min_delta=self.min_delta, min_epochs=self.min_epochs)
        if self.balance_limit <= self.balance_start:
            raise ValueError(f"balance_limit={self.balance_limit}: expected more than balance_start")
        self._best = BestSoFar(self.min_delta)
        self._spent = 0
        self._balance = self.balance_start

    @hookimpl
    def on_run_start(self, run):
        option = "callback.early_stopping.monitor"  # a mistyped one would otherwise never do anything
        self._best.start(option, *run.resolve_monitor(self.monitor, option))

    @hookimpl
    def on_evaluation_end(self, run, metrics):
        improved = self._best.improves(metrics)
        _, unit = run.config.trainer.evaluation_period()
        ended = run.history[-1]["epoch"] if unit == "epoch" else run.epoch
        if ended < self.min_epochs:
            return
        self._spent = 0 if improved else self._spent + 1
        self._balance += -1 if improved else 1
        if self.form is Form.consecutive and self._spent >= self.patience:
            run.stop(f"{self._best.monitor} has not improved for {self._spent} evaluations")
        elif self.form is Form.balance and self._balance >= self.balance_limit:
            run.stop(f"the balance of {self._best.monitor} reached {self._balance}")

    def state_dict(self):
        return {"best": self._best.best, "spent": self._spent, "balance": self._balance}

    def load_state_dict(self, state):
        self._best.best, self._spent, self._balance = state["best"], state["spent"], state["balance"]
