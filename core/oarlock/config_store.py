"""The registered components in Hydra's ConfigStore, with the schema of the whole."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from hydra.core.config_store import ConfigStore

from oarlock.registry import Registry
from oarlock.schema import RootConfig


def store(registry: Registry) -> None:
    """Put the components into Hydra's ConfigStore. One whose fields cannot be a configuration is refused."""
    configs = ConfigStore.instance()
    defaults: list[Any] = ["_self_"]
    fields: list[Any] = [("defaults", list[Any], dataclasses.field(default_factory=lambda: defaults))]
    for group in registry.groups.values():
        kind = dict[str, Any] if group.many else Any
        fields.append((group.name, kind, dataclasses.field(default_factory=dict) if group.many else None))
        if not group.required and group.name not in ("regularizer", "callback", "engine", "sweep"):
            defaults.append({group.name: [] if group.many else None})
    configs.store(name="schema", node=dataclasses.make_dataclass("Config", fields, bases=(RootConfig,)))
    registry.refuse_unconfigurable()
    for path, entry in registry.entries.items():
        many = registry.groups[entry.group].many
        node, package = entry.cls, path.replace("/", ".") if many else None
        if many and re.search(r"_(global|group|name|here)_", path):
            # Hydra reads `_global_` in the middle of `regularizer.clip_global_norm` as its keyword.
            node, package = {entry.name: entry.cls}, None  # type: ignore[assignment]
        configs.store(group=entry.group, name=entry.name, node=node, package=package)
