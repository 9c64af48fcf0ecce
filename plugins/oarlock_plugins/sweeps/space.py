"""What a sweep varies: the overrides of a command line, taken apart into what is fixed and what is searched."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from oarlock import UserError

# More values in one list than anybody means.
MOST_VALUES = 100_000


@dataclass(frozen=True)
class Parameter:
    """One override with many values.

    Attributes:
        key: what stands before the equals sign.
        structural: whether it chooses components, so that each value needs a composition of its own.
        choices: the values of a finite list, as they are written; empty for an interval.
        low, high, step: of numbers with an order; `step` is None for what is continuous.
        log: whether it is searched in the logarithm.
        shuffled: whether the choices come in another order each time that they are read.
    """

    key: str
    structural: bool
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    shuffled: bool = False

    @cached_property
    def numbers(self) -> list[float]:
        """The values of a range, the smallest first."""
        return sorted(_number(one) for one in self.choices)

    @property
    def ordered(self) -> tuple[str, ...]:
        """The choices in an order that is the same each time that they are read."""
        return tuple(sorted(self.choices)) if self.shuffled else self.choices

    @property
    def integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def describe(self) -> str:
        """It in one line, for the ledger and for a difference."""
        if self.choices:
            return ",".join(self.ordered)
        interval = f"{'int(' if self.integer else ''}interval({self.low},{self.high}){')' if self.integer else ''}"
        return f"tag(log,{interval})" if self.log else interval


@dataclass
class Space:
    """The parameters of a sweep, in the order in which they were given, and the overrides that are fixed.

    Attributes:
        finite: whether all of them are lists, so that they make a grid.
    """

    parameters: list[Parameter]
    fixed_structure: list[str] = field(default_factory=list)
    fixed_values: list[str] = field(default_factory=list)

    @property
    def finite(self) -> bool:
        return all(parameter.choices for parameter in self.parameters)

    def describe(self) -> dict[str, str]:
        return {parameter.key: parameter.describe() for parameter in self.parameters}


def parse_space(overrides: Sequence[str], is_group: Callable[[str], bool], loader: Any = None) -> Space:
    """Take the overrides of a sweep apart.

    Args:
        overrides: `a=1,2`, `b=choice(x,y)`, `c=range(0,4)`, `d=interval(0,1)`, `e=tag(log,interval(1e-4,1e-1))`,
            and those with one value.
        is_group: whether a key chooses options of a config group.
        loader: Hydra's loader, which knows the options that `glob(…)` stands for.

    Raises:
        UserError: one of them is empty, endless, or means nothing to a search.
    """
    space = Space([])
    swept: dict[str, str] = {}
    fixed: dict[str, str] = {}
    for override in _parse(overrides, loader):
        text, key = str(override.input_line), override.key_or_group
        sign = "~" if override.is_delete() else "+" if override.is_add() else "++" if override.is_force_add() else ""
        structural = bool(sign or override.package is not None or is_group(key))
        name = f"{sign}{override.get_key_element().lstrip('+~')}"
        if before := swept.get(name) or (override.is_sweep_override() and fixed.get(name)):
            raise UserError(f"{before} {text}: {name} is given twice.")
        if override.is_sweep_override():
            swept[name] = text
            space.parameters.append(_parameter(override, name, structural, text))
        else:
            fixed[name] = text
            (space.fixed_structure if structural else space.fixed_values).append(text)
    return space


def _parse(overrides: Sequence[str], loader: Any) -> list[Override]:
    parser, parsed = OverridesParser.create(loader), []
    for text in overrides:
        try:
            parsed += parser.parse_overrides([text])
        except HydraException as error:
            said = [line.strip() for line in str(error).splitlines() if "hydra.cc" not in line]
            raise UserError(f"{text}: it cannot be read: {said[-1]}") from error
    return parsed


def _parameter(override: Override, key: str, structural: bool, text: str) -> Parameter:
    value: Any = override.value()
    tags = sorted(str(tag) for tag in getattr(value, "tags", ()))
    if override.is_interval_sweep():
        if structural:
            raise UserError(f"{text}: a choice of components is a list, not an interval.")
        if unknown := [tag for tag in tags if tag != "log"]:
            raise UserError(f"{text}: the tag '{unknown[0]}' means nothing here; an interval may have 'log'.")
        low, high = value.start, value.end
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"{text}: expected two finite numbers, the smaller one first.")
        if "log" in tags and low <= 0:
            raise UserError(f"{text}: a logarithm needs an interval above 0.")
        return Parameter(key, structural, low=low, high=high, step=_step(low, high), log="log" in tags)
    if tags:
        raise UserError(f"{text}: the tag '{tags[0]}' means nothing to a list; an interval may have 'log'.")
    shuffled = bool(getattr(value, "shuffle", False))
    try:
        if override.is_range_sweep() and sum(1 for _ in islice(value.range(), MOST_VALUES + 1)) > MOST_VALUES:
            raise UserError(f"{text}: more than {MOST_VALUES:,} values; use interval(…).")
        values = list(islice(override.sweep_string_iterator(), MOST_VALUES + 1))
    except UserError:
        raise
    except Exception as error:  # a step of zero, a glob over what has no options: Hydra raises what it likes
        raise UserError(f"{text}: its values cannot be listed: {error}") from error
    if not values:
        raise UserError(f"{text}: there is no value in it.")
    if len(values) > MOST_VALUES:
        raise UserError(f"{text}: more than {MOST_VALUES:,} values; use interval(…).")
    values = list(dict.fromkeys(values))
    if override.is_range_sweep() and len(values) > 1:
        numbers = sorted(_number(one) for one in values)
        return Parameter(key, structural, tuple(values), numbers[0], numbers[-1], abs(value.step),
                         shuffled=shuffled)  # fmt: skip
    return Parameter(key, structural, tuple(values), shuffled=shuffled)


def _step(low: float, high: float) -> int | None:
    return 1 if isinstance(low, int) and isinstance(high, int) else None


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def assignments(values: Iterable[tuple[str, str]]) -> list[str]:
    """Keys and values as overrides."""
    return [f"{key}={value}" for key, value in values]
