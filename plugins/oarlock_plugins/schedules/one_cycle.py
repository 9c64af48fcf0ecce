"""One rise and one fall."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.ranges import within
from oarlock_plugins.schedules.warmup import steps_after


@component
class OneCycle:
    """One cycle (Smith & Topin 2018): half a cosine up to the learning rate, then one down to nearly nothing.

    Args:
        warmup_fraction: the share of all steps in which the rate rises.
        start_factor: the rate of the first step, as a share of the learning rate.
        final_factor: the rate of the last step, as a share of the learning rate.
    """

    warmup_fraction: float = 0.3
    start_factor: float = 0.04
    final_factor: float = 4e-6

    def __post_init__(self):
        within(0, 1, warmup_fraction=self.warmup_fraction, final_factor=self.final_factor)
        if not 0 < self.start_factor <= 1:
            raise ValueError(f"start_factor={self.start_factor}: expected 0 < start_factor <= 1")

    @hookimpl
    def build_schedule(self, learning_rate, total_steps):
        from paddle.optimizer.lr import LambdaDecay

        last = steps_after(0, total_steps, "one_cycle") - 1
        peak = self.warmup_fraction * last

        def factor(step):
            if step < peak:
                return _between(self.start_factor, 1.0, step / peak)
            return _between(1.0, self.final_factor, min((step - peak) / max(last - peak, 1e-9), 1.0))

        return LambdaDecay(learning_rate, factor)


def _between(start, end, share):
    """Half a cosine from one value to another."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
