"""From a checked configuration to the objects that it stands for."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from oarlock.errors import UserError, describe, one_line
from oarlock.registry import Registry
from oarlock.schema import ROOT_FIELDS, RootConfig


def instantiate(config: DictConfig, registry: Registry) -> dict[str, Any]:
    """The components by config path, in the order of the groups, lists in list order; and `''`, the root.

    Raises:
        UserError: a component refuses its values, or one has no value.
    """
    objects: dict[str, Any] = {}
    objects[""] = _root(config)
    for group in registry.groups.values():
        node = config._get_node(group.name, validate_access=False)
        if not isinstance(node, DictConfig) or node._is_none():
            continue
        for path, child in (
            [(f"{group.name}.{name!s}", node._get_node(name)) for name in node] if group.many else [(group.name, node)]
        ):
            objects[path] = _object(path, child)
    return objects


def instantiate_at(config: DictConfig, path: str, registry: Registry) -> Any:
    """One of what `instantiate` gives.

    Raises:
        UserError: it refuses its values.
    """
    return _object(path, OmegaConf.select(config, path)) if path else _root(config)


def _root(config: DictConfig) -> RootConfig:
    """The root without the groups."""
    own = {key: config[key] for key in ROOT_FIELDS}
    kinds = {field.name: type(field.default) for field in dataclasses.fields(RootConfig)}
    if any(type(value) is not kinds[key] for key, value in own.items() if not OmegaConf.is_config(value)):
        # A recorded configuration has plain values, and an override may have made another one of them.
        plain = {key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
                 for key, value in own.items()}  # fmt: skip
        try:
            merged = OmegaConf.merge(OmegaConf.structured(RootConfig), plain)
        except OmegaConfBaseException as error:
            raise UserError(f"{error.full_key}: {one_line(error)}") from error
        root: RootConfig = _object("", merged)
        return root
    try:
        return RootConfig(**{key: _object(key, value) if OmegaConf.is_config(value) else value
                             for key, value in own.items()})  # fmt: skip
    except ValueError as error:
        raise UserError(one_line(error)) from error


def _object(path: str, node: Any) -> Any:
    """The instance that a node stands for; an error names the innermost path that it is about."""
    try:
        made = _made(node)
        return OmegaConf.to_object(node) if made is None else made
    except Exception as error:  # raised by a component's own __post_init__: what it says is about the values
        for key in node:
            child = node._get_node(key)
            if (
                isinstance(child, DictConfig)
                and not is_empty(child)
                and dataclasses.is_dataclass(OmegaConf.get_type(child))
            ):
                _object(f"{path}.{key!s}".lstrip("."), child)
        if isinstance(error, OmegaConfBaseException) and not isinstance(error.__cause__, TypeError):
            raise
        # What a component says of its values is a sentence; what it trips over needs the place.
        said = isinstance(error, (ValueError, UserError, OmegaConfBaseException)) or (
            isinstance(error, AssertionError) and str(error)
        )
        message = one_line(error) if said else describe(error)
        about = next((field for field in node if re.match(rf"{field}\b", message)), None)
        raise UserError(f"{path}{'.' if about else ': '}{message}" if path else message) from error


def _made(node: DictConfig) -> Any:
    """What `OmegaConf.to_object` makes of a component that refers to nothing, in a fifth of the time.

    Returns:
        None of any other, and of one that refuses its values, which is for OmegaConf to say.
    """
    try:
        return _instance(node)
    except Exception:
        return None


def _instance(node: Any) -> Any:
    """A node with what is in it.

    Raises:
        ValueError: it is nothing that can be made without OmegaConf.
    """
    content = node._content if isinstance(node, Container) else node._value()
    if isinstance(content, str) and ("${" in content or content == "???"):
        raise ValueError(content)
    if not isinstance(node, Container) or content is None:
        return content
    if isinstance(node, ListConfig):
        return [_instance(one) for one in content]
    kind: Any = OmegaConf.get_type(node)
    if _fields(kind) != content.keys():
        raise ValueError(kind)
    return kind(**{key: _instance(one) for key, one in content.items()})


@functools.cache
def _fields(kind: type) -> set[str]:
    """The fields of a dataclass that are given to it when it is made; none of any other."""
    return {field.name for field in dataclasses.fields(kind) if field.init} if dataclasses.is_dataclass(kind) else set()


def is_empty(node: Container) -> bool:
    """Whether there is nothing to walk through: null, ???, or a reference to another node."""
    return node._is_none() or node._is_missing() or node._is_interpolation()
