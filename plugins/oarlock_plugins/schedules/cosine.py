"""Cosine decay."""

from __future__ import annotations

import math

from oarlock import UserError, component, hookimpl
from oarlock_plugins.ranges import within
from oarlock_plugins.schedules.warmup import warmed_up


@component
class Cosine:
    """Half a cosine from the learning rate down to a share of it (Loshchilov & Hutter 2017), after warm-up.

    Args:
        warmup_steps: optimizer steps over which the rate rises linearly.
        final_factor: the rate after the last step, as a share of the learning rate.
    """

    warmup_steps: int = 0
    final_factor: float = 0.0

    def __post_init__(self):
        within(0, math.inf, warmup_steps=self.warmup_steps)
        within(0, 1, final_factor=self.final_factor)

    @hookimpl
    def build_schedule(self, learning_rate, total_steps):
        if total_steps is None:
            raise UserError("schedule=cosine needs an end: the data has no length, so give trainer.max_steps.")
        if self.warmup_steps >= total_steps:
            raise UserError(f"schedule.warmup_steps={self.warmup_steps}: the run has {total_steps} steps in all.")
        span = total_steps - self.warmup_steps

        def factor(step):
            progress = min((step - self.warmup_steps) / span, 1.0)
            return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * progress)) / 2

        return warmed_up(learning_rate, self.warmup_steps, factor)
