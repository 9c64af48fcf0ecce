"""A constant learning rate."""

from __future__ import annotations

import math

from oarlock import component, hookimpl
from oarlock_plugins.ranges import within
from oarlock_plugins.schedules.warmup import warmed_up


@component
class Constant:
    """The optimizer's learning rate throughout, after an optional linear warm-up.

    Args:
        warmup_steps: optimizer steps over which the rate rises linearly.
    """

    warmup_steps: int = 0

    def __post_init__(self):
        within(0, math.inf, warmup_steps=self.warmup_steps)

    @hookimpl
    def build_schedule(self, learning_rate):
        return warmed_up(learning_rate, self.warmup_steps, lambda step: 1.0) if self.warmup_steps else learning_rate
