"""A configuration as plain data, which another process can train, and its types again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from oarlock.errors import UserError, one_line
from oarlock.registry import Registry
from oarlock.schema import RootConfig


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


def typed(values: DictConfig, components: Mapping[str, str], registry: Registry) -> DictConfig:
    """Recorded values with the types of their components again; `values` is changed.

    Raises:
        UserError: the options of a component have changed since.
    """
    parts = [(path, OmegaConf.structured(registry.entries[name].cls), OmegaConf.select(values, path))
             for path, name in components.items()]  # fmt: skip
    root = OmegaConf.structured(RootConfig)
    parts += [(key, root[key], values[key]) for key in ("runtime", "trainer")]
    for path, node, recorded in parts:
        try:
            merged = OmegaConf.merge(node, recorded)
        except Exception as error:
            raise UserError(f"{path}: its options have changed since the run was made: {one_line(error)}") from error
        OmegaConf.update(values, path, merged, merge=False)
    OmegaConf.set_struct(values, True)
    return values
