"""What to try next: a grid, or one of Optuna's samplers and pruners by ask and tell."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from oarlock import UserError
from oarlock_plugins.sweeps.composer import Composer
from oarlock_plugins.sweeps.options import missing_package
from oarlock_plugins.sweeps.space import Parameter

# How often a sampler may propose what was tried before until a finite space counts as used up.
PATIENCE = 100
# A grid of more points than this has no known number of them.
MOST_COUNTED = 100_000


@dataclass
class Point:
    """A combination of values.

    Attributes:
        values: the value of each parameter that applies, as it is written in an override.
        params: the same for the sampler: numbers as numbers.
    """

    number: int
    values: dict[str, str]
    params: dict[str, Any]


class Search:
    """The points of a sweep, one after another, and what was found at them.

    Args:
        composer: knows the parameters, and which apply beside which.
        sampler: one of SAMPLERS.
        pruner: one of PRUNERS.
        trials: how many points at most; None for all of a grid.
        seed: of the sampler.
        objectives: how many there are.
        pruning: options of the pruner: `warmup` evaluations, `reduction_factor`.
        told: how many points an earlier process has asked for.

    Attributes:
        total: how many points there will be; None where that is not known.

    Raises:
        UserError: the sampler needs a package that is not there.
    """

    def __init__(
        self, composer: Composer, sampler: str, pruner: str, trials: int | None, seed: int, objectives: int,
        pruning: dict[str, int], told: int = 0,
    ) -> None:  # fmt: skip
        self._composer, self._limit = composer, trials
        self.total = trials
        if sampler == "grid":
            size = sum(1 for _ in islice(grid(composer), trials or MOST_COUNTED))
            self.total = None if trials is None and size == MOST_COUNTED else size
        self._grid = grid(composer) if sampler == "grid" else None
        self._left = grid(composer) if composer.space.finite else iter(())
        self._seen: set[tuple[tuple[str, str], ...]] = set()
        self._next = 0
        self._study: Any = None
        self._trials: dict[int, Any] = {}
        self._behind: dict[int, bool] = {}
        self._results: dict[tuple[tuple[str, str], ...], list[float]] = {}
        if sampler != "grid" or pruner != "none":
            self._study = _study(sampler, pruner, seed + told, objectives, pruning)

    def ask(self) -> Point | None:
        """The next point; None where there is none any more."""
        if self._limit is not None and self._next >= self._limit:
            return None
        if self._grid is not None:
            for values in self._grid:
                if tuple(values.items()) not in self._seen:
                    return self._take(values, dict(values), self._fixed(values) if self._study else None)
            return None
        for _ in range(PATIENCE):
            trial = self._study.ask()
            values, params = self._suggest(trial)
            known = tuple(values.items())
            if known not in self._seen:
                return self._take(values, params, trial)
            # The same values again are the same run again: the sampler is told what came out of it.
            self._finish(trial, self._results.get(known), pruned=False)
        for values in self._left:
            if tuple(values.items()) not in self._seen:
                params = self._composer.params(values)
                return self._take(values, params, self._known(params))
        self._limit = self._next  # to find that out takes a hundred points, which the study keeps
        return None

    def restore(self, point: Point) -> None:
        """Take a point of an earlier process back in; what was found at it is told as if it came now."""
        trial = None
        if self._study is not None and self._grid is not None:
            trial = self._fixed(point.values)
        elif self._study is not None:
            trial = self._known(point.params)
        self._next = point.number
        self._take(point.values, point.params, trial)

    def report(self, number: int, evaluation: int, value: float) -> None:
        """Note the objective of one evaluation, as something to be minimised."""
        trial = self._trials.get(number)
        if trial is None:
            return
        trial.report(value, evaluation)
        # Asked for the reports of an earlier process too: what a later trial is compared with is noted only then.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, about values that are not finite
            self._behind[number] = bool(trial.should_prune())

    def should_prune(self, number: int) -> bool:
        """Whether a point's run is not worth going on with, as of its last report."""
        return self._behind.get(number, False)

    def tell(self, number: int, values: list[float] | None, pruned: bool) -> None:
        """What came out at a point.

        Args:
            number: the point's.
            values: the objectives, as something to be minimised; None where every run failed.
            pruned: whether it was cut short.
        """
        trial = self._trials.pop(number, None)
        self._behind.pop(number, None)
        if trial is not None:
            self._finish(trial, values, pruned)

    def best(self) -> list[float] | None:
        """The best value that the study knows, for one objective."""
        from optuna.trial import TrialState

        done = [] if self._study is None else self._study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        return [min(trial.value for trial in done)] if done else None

    def _take(self, values: dict[str, str], params: dict[str, Any], trial: Any) -> Point:
        point = Point(self._next, values, params)
        self._seen.add(tuple(values.items()))
        self._next += 1
        if trial is not None:
            self._trials[point.number] = trial
            trial.set_user_attr("values", values)
        return point

    def _finish(self, trial: Any, values: list[float] | None, pruned: bool) -> None:
        from optuna.trial import TrialState

        if pruned:
            self._study.tell(trial, state=TrialState.PRUNED)
        elif values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, values)
            if "values" in trial.user_attrs:
                self._results[tuple(trial.user_attrs["values"].items())] = values

    def _fixed(self, values: dict[str, str]) -> Any:
        """A trial of the study at a point of the grid, for the pruner."""
        self._study.enqueue_trial(values)
        trial = self._study.ask()
        for parameter in self._composer.space.parameters:
            if parameter.key in values:
                trial.suggest_categorical(parameter.key, parameter.choices)
        return trial

    def _known(self, params: Mapping[str, Any]) -> Any:
        """A trial of the study at values that are known."""
        ranges = {one.key: one for one in self._composer.space.parameters if one.choices and one.low is not None}
        self._study.enqueue_trial({key: ranges[key].numbers.index(value) if key in ranges else value
                                   for key, value in params.items()})  # fmt: skip
        trial = self._study.ask()
        self._suggest(trial)
        return trial

    def _suggest(self, trial: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """Components first, then those options that they have."""
        params: dict[str, Any] = {}
        for parameter in self._composer.structure:
            params[parameter.key] = trial.suggest_categorical(parameter.key, parameter.choices)
        combination = tuple(params.values())
        for parameter in self._composer.values:
            if self._composer.applies(combination, parameter.key):
                params[parameter.key] = suggest(trial, parameter)
        # In the order in which they were typed.
        values = {parameter.key: written(params[parameter.key])
                  for parameter in self._composer.space.parameters if parameter.key in params}  # fmt: skip
        return values, params


def suggest(trial: Any, parameter: Parameter) -> Any:
    """A value from Optuna for a parameter; an integer stays one."""
    if parameter.low is None or parameter.high is None:
        return trial.suggest_categorical(parameter.key, parameter.choices)
    if parameter.choices:
        # By its place: sums of a step that is no whole number miss the values of the list by a little.
        return parameter.numbers[trial.suggest_int(parameter.key, 0, len(parameter.numbers) - 1)]
    kind = trial.suggest_int if parameter.integer else trial.suggest_float
    return kind(parameter.key, parameter.low, parameter.high, log=parameter.log)


def written(value: Any) -> str:
    """A value as it stands in an override."""
    return value if isinstance(value, str) else repr(value)


def grid(composer: Composer) -> Iterator[dict[str, str]]:
    """Every combination, the last parameter fastest; one that only differs in what does not apply comes once."""
    parameters = composer.space.parameters
    seen = set()
    for choice in product(*(parameter.choices for parameter in parameters)):
        values = {parameter.key: value for parameter, value in zip(parameters, choice, strict=True)}
        combination = composer.combination(values)
        values = {parameter.key: values[parameter.key] for parameter in parameters
                  if parameter.structural or composer.applies(combination, parameter.key)}  # fmt: skip
        if (key := tuple(values.items())) not in seen:
            seen.add(key)
            yield values


def aggregate(values: list[list[float]]) -> list[float] | None:
    """The mean over the repetitions, objective by objective."""
    return [statistics.fmean(column) for column in zip(*values, strict=True)] if values else None


def _study(sampler: str, pruner: str, seed: int, objectives: int, pruning: dict[str, int]) -> Any:
    import optuna

    if package := missing_package(sampler):
        raise UserError(f"sweep.sampler={sampler}: it needs the package '{package}'; pip install {package}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers, pruners = optuna.samplers, optuna.pruners
    made = {
        "grid": samplers.RandomSampler,
        "random": samplers.RandomSampler,
        "tpe": samplers.TPESampler,
        "cmaes": samplers.CmaEsSampler,
        "nsgaii": samplers.NSGAIISampler,
        "qmc": samplers.QMCSampler,
        "gp": samplers.GPSampler,
    }[sampler]
    options: dict[str, Any] = {
        # Several trials run at once: without it they would all be drawn from the same spot.
        "tpe": {"constant_liar": True},
        # Without it the sequence is the same for every seed, and a sweep that goes on would begin it again.
        "qmc": {"scramble": True},
    }.get(sampler, {})
    warmup, factor = pruning["warmup"], pruning["reduction_factor"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        chosen = made(seed=seed, **options)
    return optuna.create_study(
        study_name="sweep",  # Hyperband draws the brackets from it; by default it is another one each time
        directions=["minimize"] * objectives,
        sampler=chosen,
        pruner={
            "none": pruners.NopPruner,
            "asha": lambda: pruners.SuccessiveHalvingPruner(min_resource=warmup, reduction_factor=factor),
            "hyperband": lambda: pruners.HyperbandPruner(min_resource=warmup, reduction_factor=factor),
            "median": lambda: pruners.MedianPruner(n_warmup_steps=warmup),
        }[pruner](),
    )
