"""A composed or recorded configuration with other values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from oarlock.checking import unknown_key
from oarlock.errors import UserError, nearest, one_line
from oarlock.registry import Registry
from oarlock.vetting import parse


def apply_overrides(config: DictConfig, overrides: Sequence[str], registry: Registry) -> DictConfig:
    """Change a recorded configuration: a value by its path, or a whole one-of-a-kind component by its group.

    Components are chosen first, as when a run is composed, wherever that stands.
    """
    config = config.copy()
    for override in sorted(parse(overrides), key=lambda one: one.key_or_group not in registry.groups):
        key, value = override.key_or_group, override.value()
        text = override.input_line or key
        group = registry.groups.get(key)
        if override.is_delete() or override.is_sweep_override() or override.package or (group and group.many):
            raise UserError(f"{text}: here only key=value and group=option can be changed.")
        if group:
            entry = registry.entries.get(f"{key}/{value}")
            if entry is None:
                raise UserError(f"{text}: there is no such {key}. {nearest(str(value), registry.options(key))}")
            config[key] = OmegaConf.structured(entry.cls)
            continue
        fill_optional(config, key, value)
        parent = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else config
        name = key.rpartition(".")[2]
        if not isinstance(parent, DictConfig) or name not in parent.keys():  # noqa: SIM118  # one without a value too
            raise unknown_key(key, OmegaConf.get_type(parent) if parent is not None else None, registry)
        try:
            OmegaConf.update(config, key, value, merge=True)
        except OmegaConfBaseException as error:
            raise UserError(f"{text}: {one_line(error)}") from error
    return config


def fill_optional(config: DictConfig, key: str, value: Any) -> None:
    """Where an option is null and otherwise a dataclass, give it that one's defaults if an override sets a part of it.

    Args:
        config: what is changed.
        key: the override's.
        value: the override's; a dict sets parts.
    """
    node: Any = config
    names = key.split(".")
    for depth, name in enumerate(names, 1):
        child = node._get_node(name, validate_access=False) if isinstance(node, DictConfig) else None
        kind = child._metadata.ref_type if isinstance(child, DictConfig) and child._is_none() else None
        if dataclasses.is_dataclass(kind) and (depth < len(names) or isinstance(value, dict)):
            with flag_override(node, ["struct", "readonly"], False):
                node[name] = OmegaConf.structured(kind)
            child = node._get_node(name)
        node = child
