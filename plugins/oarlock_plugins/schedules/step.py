"""A learning rate that falls in steps."""

from __future__ import annotations

import bisect
import math
from dataclasses import field

from oarlock import component, hookimpl
from oarlock_plugins.ranges import within
from oarlock_plugins.schedules.warmup import steps_after, warmed_up


@component
class Step:
    """The learning rate, multiplied by gamma at each milestone (He et al. 2016), after an optional linear warm-up.

    Args:
        milestones: where, as shares of all steps of the run.
        gamma: the factor.
        warmup_steps: optimizer steps over which the rate rises linearly.
    """

    milestones: list[float] = field(default_factory=lambda: [0.5, 0.75])
    gamma: float = 0.1
    warmup_steps: int = 0

    def __post_init__(self):
        within(0, math.inf, warmup_steps=self.warmup_steps, gamma=self.gamma)
        if sorted(self.milestones) != list(self.milestones) or not all(0 < share < 1 for share in self.milestones):
            raise ValueError(
                f"milestones={self.milestones}: expected shares of the run, 0 < share < 1, in rising order"
            )

    @hookimpl
    def build_schedule(self, learning_rate, total_steps):
        steps_after(self.warmup_steps, total_steps, "step")
        places = [
            math.ceil(share * total_steps - 1e-9) for share in self.milestones
        ]  # 0.55 * 100 is a little more than 55
        return warmed_up(
            learning_rate, self.warmup_steps, lambda step: self.gamma ** bisect.bisect_right(places, step)
        )  # fmt: skip
