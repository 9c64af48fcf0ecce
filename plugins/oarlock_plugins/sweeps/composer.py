"""From the values of a trial to a composed experiment: one full composition for each combination of components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from omegaconf import DictConfig, IntegerNode, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from oarlock import Experiment, UserError, nearest
from oarlock_plugins.dotted import dotted
from oarlock_plugins.sweeps.space import Parameter, Space, assignments

# Above this many combinations of components they are composed when their turn comes, and before the first run only one
# with each choice.
MOST_COMBINATIONS = 64
# Combinations whose first trial is composed in the slow way too, to see that the quick one gives the same.
COMPARED = 4


class Composer:
    """Composes the trials of one sweep.

    Args:
        loader: oarlock's config loader, as Hydra hands it to a sweeper.
        config: the sweep's own configuration.
        space: what varies.
    """

    def __init__(self, loader: Any, config: DictConfig, space: Space) -> None:
        self._loader, self._config, self.space = loader, config, space
        self.structure = [parameter for parameter in space.parameters if parameter.structural]
        self.values = [parameter for parameter in space.parameters if not parameter.structural]
        self.flags: list[str] = loader.flags
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        self._fixed_values: dict[tuple[str, ...], list[str]] = {}
        self._variations: dict[tuple[str, ...], Any] = {}
        self._applies: dict[tuple[tuple[str, ...], str], bool] = {}
        self._compared = 0
        self._ready: dict[tuple[str, ...], Experiment] = {}

    def combinations(self) -> list[tuple[str, ...]]:
        """Every choice of components, as the values of `structure`; not all of them where there are too many."""
        found = []
        for combination in product(*(parameter.choices for parameter in self.structure)):
            found.append(combination)
            if len(found) == MOST_COMBINATIONS:
                break
        return found

    def check(self) -> None:
        """Compose every combination of components, and look at every key; intervals of integers become so.

        Raises:
            UserError: a key is an option of none of them.
        """
        bases = [self.base(combination) for combination in self.combinations()]
        others = self._others()
        for override in (*self.space.fixed_values, *(f"{one.key}={_example(one)}" for one in self.values)):
            key = override.partition("=")[0]
            while not any(_has(base, key) for base in bases):
                if (combination := next(others, None)) is not None:
                    bases.append(self.base(combination))
                    continue
                group, _, name = key.rpartition(".")
                known = {str(one) for base in bases for one in (_node(base, group) or ()) if group}
                if known:
                    raise UserError(f"{override}: {group} has no option '{name}' in this sweep. {nearest(name, known)}")
                self._loader.vary(bases[0], [override], checked=False)  # says what is wrong with it
                raise UserError(f"{override}: there is no such option.")
        self._refuse_runtimes(bases)
        self.space.parameters = [_whole(one, bases) for one in self.space.parameters]
        self.values = [one for one in self.space.parameters if not one.structural]

    def _refuse_runtimes(self, bases: list[DictConfig]) -> None:
        """What is set once in a process cannot be swept over: a worker would train the others as the first."""
        swept = [one.key for one in self.values if one.key.startswith("runtime.")]
        if not swept and any(base.runtime != bases[0].runtime for base in bases):
            swept = [one.key for one in self.structure]
        if swept:
            raise UserError(f"{swept[0]}: the trials of this sweep differ in runtime.tune, but a worker trains many, and\n"
                            "a process can be set up only once. Make a sweep of each.")  # fmt: skip

    def check_combinations(self) -> None:
        """Look at every combination of components, with the fixed values and an example of each that is searched.

        Raises:
            UserError: one is not valid.
        """
        for combination in self._others():
            self.base(combination)
        for combination, base in list(self._bases.items()):
            examples = [f"{one.key}={_example(one)}" for one in self.values if _has(base, one.key)]
            self._loader.vary(base, [*self._fixed(combination), *examples])

    def _others(self) -> Iterator[tuple[str, ...]]:
        """For each choice that is in none of `combinations`, because they are too many, one that has it."""
        known = self.combinations()
        for place, parameter in enumerate(self.structure):
            for choice in parameter.choices:
                if not any(combination[place] == choice for combination in known):
                    yield (*known[0][:place], choice, *known[0][place + 1 :])

    def prepare(self, values: Mapping[str, str], extra: tuple[str, ...] = ()) -> None:
        """Compose a trial's experiment ahead of its turn.

        Raises:
            UserError: a value is not accepted.
        """
        self._ready[tuple(self.overrides(values, extra))] = self.experiment(values, extra)

    def base_values(self) -> dict[str, Any]:
        """What is the same in all trials: the first combination with the fixed values.

        Of those that vary it has what the components have by themselves; where that is nothing, an example.
        """
        return self._values_of(tuple(parameter.ordered[0] for parameter in self.structure))

    def choices(self) -> dict[str, dict[str, Any]]:
        """For each choice of components but the first ones, the values in which it differs from `base_values`."""
        first = [parameter.ordered[0] for parameter in self.structure]
        base = dotted(self.base_values())
        found = {}
        for place, parameter in enumerate(self.structure):
            for choice in parameter.ordered[1:]:
                values = dotted(self._values_of((*first[:place], choice, *first[place + 1 :])))
                found[f"{parameter.key}={choice}"] = {path: value for path, value in values.items()
                                                      if path not in base or value != base[path]}  # fmt: skip
        return found

    def _values_of(self, combination: tuple[str, ...]) -> dict[str, Any]:
        """The values with these components and the fixed values."""
        base = self.base(combination)
        examples = [f"{one.key}={_example(one)}" for one in self.values if _is_missing(base, one.key)]
        config = self._loader.vary(base, [*self._fixed(combination), *examples], checked=False)
        values: dict[str, Any] = self._loader.experiment(config, []).values
        return values

    def params(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The values of a trial as the sampler has them: numbers as numbers."""
        read: dict[str, Any] = {}
        for parameter in self.space.parameters:
            if parameter.key in values:
                text = values[parameter.key]
                number = int if parameter.integer else float
                read[parameter.key] = text if parameter.low is None else number(text)
        return read

    def base(self, combination: tuple[str, ...]) -> DictConfig:
        """The configuration with these components and no value changed; without them it may not be valid."""
        if combination not in self._bases:
            chosen = assignments(zip((one.key for one in self.structure), combination, strict=True))
            choices = [*self.space.fixed_structure, *chosen]
            keys = [one.partition("=")[0] for one in self.space.fixed_values] + [one.key for one in self.values]
            self._bases[combination] = self._loader.compose_structure(self._config, choices, keys)
        return self._bases[combination]

    def applies(self, combination: tuple[str, ...], key: str) -> bool:
        """Whether a value is an option of these components; `optimizer.beta1` is none of `sgd`."""
        if (combination, key) not in self._applies:
            self._applies[combination, key] = _has(self.base(combination), key)
        return self._applies[combination, key]

    def combination(self, values: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(values[parameter.key] for parameter in self.structure)

    def overrides(self, values: Mapping[str, str], extra: tuple[str, ...] = ()) -> list[str]:
        """What to type for a trial: the fixed overrides that apply, then its own."""
        fixed = self._fixed(self.combination(values))
        return [*self.space.fixed_structure, *fixed, *assignments(values.items()), *extra]

    def _fixed(self, combination: tuple[str, ...]) -> list[str]:
        """The fixed values that are options of these components."""
        if combination not in self._fixed_values:
            self._fixed_values[combination] = [one for one in self.space.fixed_values
                                               if self.applies(combination, one.partition("=")[0])]  # fmt: skip
        return self._fixed_values[combination]

    def experiment(self, values: Mapping[str, str], extra: tuple[str, ...] = ()) -> Experiment:
        """The experiment of a trial, checked.

        Args:
            values: its value for each parameter that applies.
            extra: overrides of the sweep's own, the seed of a repetition.

        Raises:
            UserError: a value is not accepted.
        """
        overrides = self.overrides(values, extra)
        ready = self._ready.pop(tuple(overrides), None)
        if ready is not None:
            return ready
        combination = self.combination(values)
        structural = {parameter.key for parameter in self.structure}
        own = [one for one in (*assignments(values.items()), *extra) if one.partition("=")[0] not in structural]
        fixed = self._fixed(combination)
        new = combination not in self._variations
        if not new:
            quick = self._loader.varied(self._variations[combination], own, overrides)
            if quick is not None:
                return quick
        base = self.base(combination)
        slow = self._loader.experiment(self._loader.vary(base, [*fixed, *own]), overrides)
        if new:
            self._variations[combination] = variation = self._loader.variation(base, fixed)
            self._compare(slow, self._loader.varied(variation, own, overrides))
            if self._compared < COMPARED:
                self._compared += 1
                self._compare(
                    slow, self._loader.experiment(self._loader.compose_trial(self._config, overrides), overrides)
                )
        return slow

    def _compare(self, experiment: Experiment, other: Experiment | None) -> None:
        """Fail where two ways to compose one trial come to different ends; None is a way that was not gone."""
        if other is not None and other != experiment:
            raise UserError(f"{' '.join(experiment.overrides)}: composed at once it is another experiment than value by "
                            "value.\nReport this, with the files of --config-dir; hydra/sweeper=basic does without.")  # fmt: skip


def _has(config: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    if name.isdecimal() and isinstance(_leaf(config, parent), ListConfig):
        return True  # another value may say how long the list is
    node = _node(config, parent)
    return node is not None and name in node.keys()  # noqa: SIM118  # a value that is missing is no less an option


def _node(config: DictConfig, path: str) -> DictConfig | None:
    try:
        node = OmegaConf.select(config, path) if path else config
    except OmegaConfBaseException:  # the path goes on below a value
        return None
    return node if isinstance(node, DictConfig) else None


def _leaf(config: DictConfig, key: str) -> Any:
    """The node of a value; None where there is none."""
    parent, _, name = key.rpartition(".")
    node = _node(config, parent)
    return None if node is None else node._get_node(name, validate_access=False)


def _is_missing(config: DictConfig, key: str) -> bool:
    leaf = _leaf(config, key)
    return leaf is not None and bool(leaf._is_missing())


def _whole(parameter: Parameter, bases: list[DictConfig]) -> Parameter:
    """The parameter; where the option is an integer, an interval with the whole numbers in it."""
    low, high = parameter.low, parameter.high
    if (
        parameter.choices
        or not any(isinstance(_leaf(base, parameter.key), IntegerNode) for base in bases)
        or low is None
        or high is None
    ):
        return parameter
    if low != int(low) or high != int(high):
        raise UserError(f"{parameter.key}={parameter.describe()}: expected integers as its ends.")
    return replace(parameter, low=int(low), high=int(high), step=1)


def _example(parameter: Parameter) -> Any:
    return parameter.ordered[0] if parameter.choices else parameter.low
