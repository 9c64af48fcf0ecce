"""Many configurations that differ from one in plain values, each checked, without composing it anew."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from enum import Enum
from typing import Any

from hydra.core.override_parser.types import OverrideType
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from oarlock.checking import chosen_components, instantiate_at
from oarlock.errors import UserError
from oarlock.registry import Registry
from oarlock.vetting import parse

PLAIN = (bool, int, float, str)


class Variation:
    """A configuration with some of its numbers and words replaced, over and over.

    Only the components whose values were replaced are looked at again. What refers to another value (`${...}`), lists and
    whole components are left to whoever composes.

    Args:
        config: the configuration, already checked with other numbers and words; it is changed from now on.
        registry: the components.
    """

    def __init__(self, config: DictConfig, registry: Registry) -> None:
        self._config, self._registry = config, registry
        self.components = chosen_components(config, registry)
        self._refers = _has_reference(config)
        self._values: dict[str, Any] = OmegaConf.to_container(config, resolve=True, enum_to_str=True)  # type: ignore[assignment]

    def values(self, overrides: Sequence[str]) -> dict[str, Any] | None:
        """The whole configuration with these values, checked, as plain data; None where it must be composed.

        So must what is not valid, so that its error is the same either way.

        Args:
            overrides: `key=value` each. Those of one call are forgotten at the next one.

        Returns:
            what is not to be changed: what is the same in several configurations is one object.
        """
        changes = [_plain(override) for override in overrides]
        places = [self._place(key) for key, _ in changes]
        if self._refers or any(key is None for key, _ in changes) or None in places:
            return None
        before = [parent._get_node(name)._value() for parent, name in places]
        try:
            for (parent, name), (_, value) in zip(places, changes, strict=True):
                parent[name] = value
            for path in {self._owner(key) for key, _ in changes}:
                instantiate_at(self._config, path, self._registry)
            found = self._values
            for (parent, name), (key, _) in zip(places, changes, strict=True):
                value = parent._get_node(name)._value()
                found = _replaced(found, key.split("."), value.name if isinstance(value, Enum) else value)
            return found
        except (UserError, OmegaConfBaseException):
            return None
        finally:
            for (parent, name), value in zip(places, before, strict=True):
                parent._get_node(name)._val = value

    def _place(self, key: Any) -> Any:
        """Where a plain value is: the node that holds it, and its name there; None where there is none."""
        if key is None:
            return None
        path, _, name = key.rpartition(".")
        parent = OmegaConf.select(self._config, path) if path else self._config
        if not isinstance(parent, DictConfig) or name not in parent.keys():  # noqa: SIM118
            return None
        node = parent._get_node(name)
        return None if isinstance(node, Container) else (parent, name)

    def _owner(self, key: str) -> str:
        """The outermost component that a value belongs to; '' for those of the run itself."""
        return next((path for path in self.components if key.startswith(f"{path}.")), "")


def _replaced(values: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """The same with another value at a path."""
    first, *rest = path
    return {**values, first: _replaced(values[first], rest, value) if rest else value}


@functools.lru_cache(maxsize=4096)
def _plain(text: str) -> tuple[Any, Any]:
    """The key and the value of an override that replaces one plain value; (None, None) of any other.

    Kept, since Hydra's grammar takes a millisecond for one, and a grid has the same ones over and over.
    """
    (override,) = parse([text])
    value = override.value()
    if override.type is not OverrideType.CHANGE or override.package is not None or override.is_sweep_override():
        return None, None
    if (value is not None and type(value) not in PLAIN) or (
        isinstance(value, str) and ("${" in value or value == "???")
    ):
        return None, None
    return override.key_or_group, value


def _has_reference(node: Any) -> bool:
    """Whether a value in it refers to another one."""
    if node._is_interpolation():
        return True
    if not isinstance(node, Container) or node._is_none() or node._is_missing():
        return False
    keys = node.keys() if isinstance(node, DictConfig) else range(len(node))  # type: ignore[arg-type]
    return any(_has_reference(node._get_node(key)) for key in keys)
