"""Cosine decay."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.ranges import within
from oarlock_plugins.schedules.warmup import steps_after, warmed_up


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
        span = steps_after(self.warmup_steps, total_steps, "cosine")

        def factor(step):
            progress = min((step - self.warmup_steps) / span, 1.0)
            return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * progress)) / 2

        return warmed_up(learning_rate, self.warmup_steps, factor)
