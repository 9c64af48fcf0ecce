"""What a composed configuration must be: every node typed, every key a field, every value one that is accepted."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from oarlock.component import field_types
from oarlock.errors import UserError, abbreviates, nearest, one_line
from oarlock.instantiation import instantiate, instantiate_at, is_empty
from oarlock.plugins import Host
from oarlock.registry import Registry
from oarlock.schema import ROOT_FIELDS, TrainerConfig

# Far above any real configuration, and far below what hurts.
MAX_VALUES, MAX_DEPTH = 20_000, 50


def check(config: DictConfig, host: Host, of_run: bool = True) -> None:
    """Every node is typed, every key is a field, every value is one that its component accepts.

    Args:
        config: a composed configuration.
        host: the plugins.
        of_run: whether what is of a run is looked at too, and not only the options of a sweep over runs.

    Raises:
        UserError: names the key, what is expected and the nearest valid choice.
    """
    registry = host.registry
    groups = registry.groups
    for key in config:
        if key not in ROOT_FIELDS and key not in groups:
            raise unknown_key(str(key), None, registry)
    for key in ROOT_FIELDS if of_run else ():
        node = config._get_node(key, validate_access=False)
        if node is None:
            raise UserError(f"{key}: it cannot be left out.")
        _check_node(node, key, registry)
    looked_at = [group for group in groups.values() if of_run or not group.of_run]
    for group in looked_at:
        node = config._get_node(group.name, validate_access=False)
        if group.many and isinstance(node, DictConfig) and not is_empty(node):
            for name in node:
                _check_component(node._get_node(name), f"{group.name}.{name!s}", group.name, registry)
        elif not group.many and node is not None and not node._is_none():
            _check_component(node, group.name, group.name, registry)
        elif group.required:
            raise UserError(
                f"{group.name}: one must be chosen, with {group.name}=… {nearest('', registry.options(group.name))}"
            )
        elif node is not None and not node._is_none():
            raise UserError(f"{group.name}: choose with {group.name}=[NAME,…].")
    if of_run:
        _check_resolved(config, "")
        instantiate(config, registry)
        return
    for group in looked_at:
        node = config._get_node(group.name, validate_access=False)
        if isinstance(node, DictConfig) and not is_empty(node):
            _check_resolved(node, group.name)
            instantiate_at(config, group.name, registry)


def _check_component(node: Any, path: str, group: str, registry: Registry) -> None:
    entry = None
    if isinstance(node, DictConfig) and not is_empty(node):
        entry = registry.of(OmegaConf.get_type(node))
    if entry is None:
        name = path.rpartition(".")[2] if "." in path else ""
        if name and node._is_none():
            raise UserError(f"{path}=null: write ~{path} to leave it out.")
        if name in registry.options(group) and not isinstance(node, DictConfig):
            raise UserError(
                f"{path}: a component has no value of its own; write +{group}={name} to choose it, ~{path} to leave it out."
            )
        if name and not isinstance(node, DictConfig):
            raise UserError(
                f"{path} is a value, not a component; a file in {group}/ begins with '# @package {group}.NAME'."
            )
        if name in registry.options(group):
            raise UserError(f"{path} has options but is not chosen; add +{group}={name}, or drop them with ~{path}.")
        hint = nearest(name, registry.options(group))
        raise UserError(f"{path} is not a registered component; choose one with {group}=NAME. {hint}")
    if entry.group != group:
        raise UserError(f"{path}: '{entry.path}' is of the group {entry.group}, not {group}.")
    _check_node(node, path, registry)


def _check_node(node: Any, path: str, registry: Registry) -> None:
    """Walk a typed node: extra keys, missing values, untyped dictionaries in the place of components."""
    if node._is_missing():
        raise UserError(f"{path}: a value is needed; write {path}=…")
    if not isinstance(node, (DictConfig, ListConfig)) or is_empty(node):
        return
    cls = OmegaConf.get_type(node)
    if dataclasses.is_dataclass(cls):
        lengths = _lengths(cls)
        for key in _keys(node):
            if key not in lengths:
                raise unknown_key(f"{path}.{key!s}", cls, registry)
            child = node._get_node(key)
            _check_node(child, f"{path}.{key!s}", registry)
            given = len(child) if isinstance(child, ListConfig) and not is_empty(child) else None
            if given is not None and lengths[key] not in (None, given):
                raise UserError(f"{path}.{key!s}={child}: expected {lengths[key]} values, got {given}.")
        return
    if isinstance(node, DictConfig) and node._metadata.ref_type is Any:
        raise UserError(f"{path} is not a component; choose one with +GROUP@{path}=NAME.")
    kind = node._metadata.element_type
    for key in _keys(node):
        child = node._get_node(key)
        # OmegaConf takes a list for an int where the list is inside another.
        if kind in (int, float, bool, str, bytes) and isinstance(child, Container):
            raise UserError(f"{path}[{key!s}]: expected {kind.__name__}, got {child}.")
        _check_node(child, f"{path}[{key!s}]", registry)


@functools.cache
def _lengths(cls: type) -> dict[str, int | None]:
    """How many values each field of a component has, where its type is a tuple of so many; OmegaConf takes any number."""

    def length(kind: Any) -> int | None:
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            return next(filter(None, map(length, typing.get_args(kind))), None)
        several = typing.get_origin(kind) is tuple and Ellipsis not in typing.get_args(kind)
        return len(typing.get_args(kind)) if several else None

    return {name: length(kind) for name, kind in field_types(cls).items()}


def _keys(node: DictConfig | ListConfig) -> list[Any]:
    return list(node.keys()) if isinstance(node, DictConfig) else list(range(len(node)))


def _check_resolved(node: Any, path: str, count: int = 0) -> int:
    """Follow every reference: refuse what is endless, what explodes when it is written out, what has another type."""
    count += 1
    if count > MAX_VALUES or path.count(".") > MAX_DEPTH:
        raise UserError(f"{path}: the references ${{…}} in it lead to too many values.")
    kind: Any = None
    if node._is_interpolation():
        kind = getattr(node._metadata, "element_type", None)
        try:
            node = node._dereference_node()
        except (OmegaConfBaseException, ValueError) as error:
            raise UserError(f"{path}: {one_line(error)}") from error
    if isinstance(node, (DictConfig, ListConfig)) and not node._is_none() and not node._is_missing():
        for key in _keys(node):
            child: Any = node._get_node(key)
            count = _check_resolved(child, f"{path}.{key!s}".lstrip("."), count)
            # OmegaConf checks the types of values, but not of those inside a list that is only referred to.
            value = node[key] if kind in (int, float, bool, str) else None
            if value is not None and type(value) is not kind and (kind, type(value)) != (float, int):
                raise UserError(f"{path}: its values must be {kind.__name__}, it refers to {value!r}.")
    return count


def plain_values(value: Any) -> Any:
    """A configuration, or a value of one, as data that YAML and JSON hold, in containers of its own.

    References are followed, enums given by name, paths as texts.
    """
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    if isinstance(value, dict):
        return {key: plain_values(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(child) for child in value]
    return value.name if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value


def chosen_components(config: DictConfig, registry: Registry) -> dict[str, str]:
    """Every component in a configuration, nested ones too, as {config path: group/name}, outer before inner."""
    found: dict[str, str] = {}

    def walk(node: Any, path: str) -> None:
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
            return
        entry = registry.of(OmegaConf.get_type(node))
        if entry is not None:
            found[path] = entry.path
        for key in node:
            walk(node._get_node(key), f"{path}.{key!s}" if path else str(key))

    walk(config, "")
    return found


def unknown_key(key: str, cls: object, registry: Registry) -> UserError:
    """The error for a key that does not exist, with the nearest that does."""
    parent, _, name = key.rpartition(".")
    if dataclasses.is_dataclass(cls) and parent:
        hint = _choices_with(parent, name, registry) or nearest(name, [field.name for field in dataclasses.fields(cls)])
        return UserError(f"{key}: '{parent}' has no option '{name}'. {hint}")
    if parent and "." in parent and cls is dict:
        return UserError(f"{key}: '{parent}' has no '{name}' yet; add it with +{key}=…")
    if parent in registry.groups:
        if name in registry.options(parent):
            return UserError(f"{key}: '{name}' is not chosen; add +{parent}={name}.")
        owners = [f"{entry.path.replace('/', '.')}.{name}" for entry in registry.entries.values()
                  if entry.group == parent and name in {field.name for field in dataclasses.fields(entry.cls)}]  # fmt: skip
        if owners:  # what needs no name where a group takes one component needs it where it takes a list
            return UserError(f"{key}: say of which {parent}: {' or '.join(sorted(owners))}.")
        return UserError(f"{key}: there is no such {parent}. {nearest(name, registry.options(parent))}")
    choices = [*registry.groups, *ROOT_FIELDS, "experiment"]
    word = re.split(r"[./@]", key)[0]
    inside = _paths_by_field(registry)
    if key == word and not difflib.get_close_matches(word, choices, n=1, cutoff=0.75):
        # `epochs=3` and `lr=0.1` are what people type who do not know yet where it belongs.
        field = word if word in inside else next((name for name in inside if abbreviates(word, name)), None)
        if field:
            return UserError(f"{key}: there is no such group or option. Did you mean '{inside[field]}'?")
    return UserError(f"{key}: there is no such group or option. {nearest(word, choices)}")


def _choices_with(group: str, name: str, registry: Registry) -> str:
    """Which options of a group have a field of this name, where one of them is chosen that has not; or ''."""
    found = [f"{group}={entry.name}" for entry in registry.entries.values()
             if entry.group == group and not registry.groups[group].many
             and name in {field.name for field in dataclasses.fields(entry.cls)}]  # fmt: skip
    return f"It is one of {', '.join(sorted(found))}." if found else ""


def _paths_by_field(registry: Registry) -> dict[str, str]:
    """Where each field of the trainer and of the components of one-of-a-kind groups is set."""
    inside = {field.name: f"trainer.{field.name}" for field in dataclasses.fields(TrainerConfig)}
    for entry in registry.entries.values():
        if not registry.groups[entry.group].many:
            for field in dataclasses.fields(entry.cls):
                inside.setdefault(field.name, f"{entry.group}.{field.name}")
    return inside
