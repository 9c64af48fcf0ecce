"""The best value so far of a metric that a component follows."""

from __future__ import annotations

import math

from oarlock import UserError


class BestSoFar:
    """Says of each evaluation whether it improves on those before it.

    Attributes:
        monitor: the metric's full name, known from the start of the run on.
        best: the best value, larger is better; None before there is one.

    Args:
        min_delta: a smaller change is no improvement.
    """

    def __init__(self, min_delta):
        self._min_delta, self.best = min_delta, None

    def start(self, option, monitor, direction):
        """Say which metric it is, before the first step.

        Args:
            option: where the name stands in the configuration.
            monitor: the metric's full name.
            direction: 'max' or 'min'.
        """
        self.monitor, self._option = monitor, option
        self._sign = 1 if direction == "max" else -1

    def improves(self, metrics):
        """Whether an evaluation is the best so far; NaN never is.

        Raises:
            UserError: it did not measure the metric.
        """
        if self.monitor not in metrics:
            raise UserError(f"{self._option}={self.monitor}: the evaluation did not measure it.")
        value = self._sign * metrics[self.monitor]
        improved = not math.isnan(value) and (self.best is None or value > self.best + self._min_delta)
        if improved:
            self.best = value
        return improved
