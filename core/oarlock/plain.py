"""A configuration as plain data, which another process can train, and its types again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from oarlock.errors import UserError, one_line
from oarlock.plugins import Host
from oarlock.schema import RuntimeConfig, TrainerConfig


@dataclass(frozen=True)
class Experiment:
    """A checked configuration as plain data, which another process can train.

    Attributes:
        values: the resolved configuration, as config.yaml has it.
        components: the component at each config path, as `group/name`.
        overrides: those that lead to it.
        flags: what stands before them in a command: the folder of files, the modules that were named.
    """

    values: dict[str, Any]
    components: dict[str, str]
    overrides: list[str]
    flags: list[str]

    @property
    def command(self) -> list[str]:
        """What to type for the same run."""
        return ["oarlock", "train", *self.flags, *self.overrides]


def replaced(values: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """The same with another value at a path."""
    first, *rest = path
    return {**values, first: replaced(values[first], rest, value) if rest else value}


def literal(value: Any) -> Any:
    """Plain data as OmegaConf must be given it to read each text as it is: a `${` in it refers to nothing."""
    if isinstance(value, dict):
        return {key: literal(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [literal(child) for child in value]
    # A backslash before it escapes it, and one before that the backslash.
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def typed(values: dict[str, Any], components: Mapping[str, str], host: Host) -> DictConfig:
    """Recorded values with the types of their components again; `check` says whether they are a whole configuration.

    Raises:
        UserError: a component is not installed, or its options are not those that it has.
    """
    if not isinstance(values, dict) or not isinstance(components, dict):
        raise UserError(f"Expected values and components by path, got {type(values).__name__} "
                        f"and {type(components).__name__}.")  # fmt: skip
    for path, component in components.items():
        if component not in host.registry.entries:
            group, _, name = str(component).partition("/")
            raise UserError(f"{path}: {host.explain_missing(group, name)}")
    parts: list[tuple[str, Any]] = [(path, host.registry.entries[name].cls) for path, name in components.items()]
    parts += [(key, cls) for key, cls in (("runtime", RuntimeConfig), ("trainer", TrainerConfig)) if key in values]
    try:
        config: DictConfig = OmegaConf.create(literal(values))
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    for path, cls in parts:
        given = OmegaConf.select(config, path)
        if not isinstance(given, DictConfig):
            raise UserError(f"{path}: expected the options of {cls.__name__}, got {given!r}.")
        try:
            merged = OmegaConf.merge(OmegaConf.structured(cls), given)
        except Exception as error:
            key = getattr(error, "full_key", None)
            raise UserError(f"{path}{f'.{key}' if key else ''}: {one_line(error)}.\n"
                            "Where it was recorded so, the options have changed since the run was made.") from error  # fmt: skip
        OmegaConf.update(config, path, merged, merge=False)
    OmegaConf.set_struct(config, True)
    return config
