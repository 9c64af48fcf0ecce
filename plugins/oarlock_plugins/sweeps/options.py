"""The options of a sweep: the component behind `sweep.…` on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from importlib.util import find_spec
from typing import Any, Dict, Optional  # noqa: UP035

from oarlock import component, nearest
from oarlock_plugins.sweeps.outcome import COSTS

SAMPLERS = ("grid", "random", "tpe", "cmaes", "nsgaii", "qmc", "gp")
# What Optuna imports for a sampler and does not install.
PACKAGES = {"cmaes": ("cmaes",), "qmc": ("scipy",), "gp": ("torch", "scipy")}
PRUNERS = ("none", "asha", "hyperband", "median")
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"": 1, "B": 1} | {
    f"{letter}{rest}": 1 << 10 * power for power, letter in enumerate("KMGT", 1) for rest in ("", "B", "iB")
}


@component
class Search:
    """What a sweep tries, how long, and what it does with trials that are bad, slow or fail.

    Args:
        sampler: grid, random, tpe, cmaes, nsgaii, qmc or gp; by default a grid where all values are lists, else tpe.
        trials: how many combinations of values at most; by default all of a grid, else 20.
        timeout: after so long no new trial is begun: seconds, or 90s, 15m, 8h, 2d.
        objective: the metric that is searched for; several, as a list, give a Pareto front. `min:` or `max:` before
            one overrules its direction. By default the monitored metric.
        seeds: train each combination with so many seeds, counted from `seed`, and compare the means.
        pruner: none, asha, hyperband or median; a trial that falls behind is ended early.
        warmup: evaluations that no pruner cuts short.
        reduction_factor: of asha and hyperband: one in so many trials goes on to so many times as many evaluations.
        trial_timeout: a trial that takes longer has failed: seconds, or 90s, 15m, 8h.
        memory_limit: a trial that holds more memory has failed: bytes, or 800M, 4G.
        retries: how often a trial that failed is taken up again, from its last checkpoint.
        keep: so many folders are kept, of the best trials and of those that failed; a larger sweep has of the others the
            ledger's lines, and the command that repeats each.
        sampler_seed: the seed of the sampler, apart from those of the trials.
        params: what to sweep over, for a file: `{optimizer.learning_rate: "tag(log, interval(1e-4, 1e-1))"}`.
    """

    sampler: Optional[str] = None
    trials: Optional[int] = None
    timeout: Any = None
    objective: Any = None
    seeds: int = 1
    pruner: str = "none"
    warmup: int = 1
    reduction_factor: int = 4
    trial_timeout: Any = None
    memory_limit: Any = None
    retries: int = 0
    keep: int = 100
    sampler_seed: int = 0
    params: Dict[str, Any] = field(default_factory=dict)  # noqa: UP006

    def __post_init__(self):
        if self.sampler is not None and self.sampler not in SAMPLERS:
            raise ValueError(f"sampler={self.sampler}: there is no such sampler. {nearest(self.sampler, SAMPLERS)}")
        if self.sampler is not None and (package := missing_package(self.sampler)):
            raise ValueError(f"sampler={self.sampler}: it needs the package '{package}'; pip install {package}")
        if self.pruner not in PRUNERS:
            raise ValueError(f"pruner={self.pruner}: there is no such pruner. {nearest(self.pruner, PRUNERS)}")
        least = {
            "trials": 1,
            "seeds": 1,
            "warmup": 1,
            "reduction_factor": 2,
            "retries": 0,
            "keep": 1,
            "sampler_seed": 0,
        }
        for name, value in least.items():
            given = getattr(self, name)
            if given is not None and given < value:
                raise ValueError(f"{name}={given}: expected at least {value}")
        self.timeout_seconds = _amount("timeout", self.timeout, UNITS, "seconds, or 90s, 15m, 8h")
        self.trial_seconds = _amount("trial_timeout", self.trial_timeout, UNITS, "seconds, or 90s, 15m, 8h")
        self.memory_bytes = _amount("memory_limit", self.memory_limit, BYTES, "bytes, or 800M, 4G")
        wanted = [] if self.objective is None else self.objective
        self.objectives = list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]
        if not all(isinstance(one, str) and one for one in self.objectives):
            raise ValueError(f"objective={self.objective}: expected the name of a metric, or a list of names")
        if self.pruner != "none" and len(self.objectives) > 1:
            raise ValueError(
                f"pruner={self.pruner}: with several objectives no trial is simply behind; use pruner=none"
            )
        for objective in self.objectives if self.pruner != "none" else ():
            name = re.sub("^(min|max):", "", objective)
            if name in COSTS or name.startswith("test/"):
                raise ValueError(f"pruner={self.pruner}: {name} is known when a run has ended; choose an objective of "
                                 "its evaluations, such as valid/loss, or pruner=none")  # fmt: skip
        if self.sampler == "cmaes" and len(self.objectives) > 1:
            raise ValueError("sampler=cmaes: it searches for one objective; choose nsgaii, tpe or random")


def missing_package(sampler: str) -> str:
    """The first package that a sampler needs and that is not installed; ''."""
    return next((package for package in PACKAGES.get(sampler, ()) if find_spec(package) is None), "")


def _amount(name: str, value: Any, units: Mapping[str, float], expected: str) -> float | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-zA-Z]*)", str(value))
    if isinstance(value, bool) or not match or match[2] not in units or float(match[1]) <= 0:
        raise ValueError(f"{name}={value}: expected {expected}")
    return float(match[1]) * units[match[2]]
