"""Many configurations that differ from one in plain values, each checked, without composing it anew."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import OverrideType
from omegaconf import Container, DictConfig, OmegaConf, UnionNode
from omegaconf.errors import OmegaConfBaseException

from oarlock.checking import chosen_components, plain_values
from oarlock.errors import UserError
from oarlock.instantiation import instantiate_at
from oarlock.plain import replaced
from oarlock.registry import Registry
from oarlock.vetting import parse

PLAIN = (bool, int, float, str)
# Values and their checks that are remembered; each is some words.
MOST_KEPT = 4096


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
        self._known: dict[tuple[str, tuple[str, ...]], dict[str, Any] | None] = {}
        self._values: dict[str, Any] = plain_values(config)

    def values(self, overrides: Sequence[str]) -> dict[str, Any] | None:
        """The whole configuration with these values, checked, as plain data; None where it must be composed.

        So must what is not valid, so that its error is the same either way.

        Args:
            overrides: `key=value` each. Those of one call are forgotten at the next one.

        Returns:
            what is not to be changed: what is the same in several configurations is one object.
        """
        if self._refers:
            return None
        parts: dict[str, list[str]] = {}
        for override in overrides:
            key, _ = _plain(override)
            if key is None:
                return None
            parts.setdefault(self._owner(key), []).append(override)
        found = self._values
        for owner, changes in parts.items():
            accepted = self._accepted(owner, tuple(changes))
            if accepted is None:
                return None
            for key, value in accepted.items():
                found = replaced(found, key.split("."), value)
        return found

    def _accepted(self, owner: str, overrides: tuple[str, ...]) -> dict[str, Any] | None:
        """What a component makes of new values, by key; None where it must be composed.

        Kept, since a grid has the same ones over and over, and nothing else bears on them.
        """
        if (owner, overrides) not in self._known:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            changes = dict(map(_plain, overrides))
            # One that is given twice would have to be valid both times.
            self._known[owner, overrides] = self._tried(owner, changes) if len(changes) == len(overrides) else None
        return self._known[owner, overrides]

    def _tried(self, owner: str, changes: dict[str, Any]) -> dict[str, Any] | None:
        places = {key: place for key in changes if (place := self._place(key)) is not None}
        if len(places) < len(changes):
            return None
        before = {key: parent._get_node(name)._value() for key, (parent, name) in places.items()}
        try:
            for key, (parent, name) in places.items():
                parent[name] = changes[key]
            instantiate_at(self._config, owner, self._registry)
            new = {key: parent._get_node(name)._value() for key, (parent, name) in places.items()}
            return {key: plain_values(value) for key, value in new.items()}
        except (UserError, OmegaConfBaseException):
            return None
        finally:
            for key, (parent, name) in places.items():
                parent._get_node(name)._val = before[key]

    def _place(self, key: str) -> Any:
        """Where a plain value is: the node that holds it, and its name there; None where there is none."""
        path, _, name = key.rpartition(".")
        parent = OmegaConf.select(self._config, path) if path else self._config
        if not isinstance(parent, DictConfig) or name not in parent.keys():  # noqa: SIM118
            return None
        node = parent._get_node(name)
        return None if isinstance(node, (Container, UnionNode)) else (parent, name)

    def _owner(self, key: str) -> str:
        """The outermost component that a value belongs to; '' for those of the run itself."""
        return next((path for path in self.components if key.startswith(f"{path}.")), "")


@functools.lru_cache(maxsize=MOST_KEPT)
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
