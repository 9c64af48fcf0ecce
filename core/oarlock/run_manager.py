"""Pluggy's manager of one run, made for processes that make thousands of runs."""

from __future__ import annotations

import functools
import inspect
from types import MemberDescriptorType, ModuleType
from typing import Any

import pluggy


class RunManager(pluggy.PluginManager):
    """Pluggy's manager, quicker with a run's components.

    It does not look for hooks among the two dozen methods that every object has, and leaves the objects' attributes as quick
    as it found them.
    """

    def register(self, plugin: Any, name: str | None = None) -> str | None:
        registered = super().register(plugin, name)
        attributes = getattr(plugin, "__dict__", None)
        if type(attributes) is dict and not isinstance(plugin, ModuleType):
            # Pluggy has looked at it, which makes CPython 3.11 to 3.13 twice as slow with each attribute, since its keys
            # are those that all objects of the class share. With a key that is no string it gets keys of its own.
            attributes[0] = None
            del attributes[0]
        return registered

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if name.startswith("__"):
            return None
        if not isinstance(plugin, (ModuleType, type)):
            own = getattr(plugin, "__dict__", {})
            kind: Any = type(plugin)
            if not callable(own[name]) if name in own else _is_unmarked(kind, name):
                return None
        return super().parse_hookimpl_opts(plugin, name)

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        return None if name.startswith("__") else _specification(module_or_class, name)


@functools.cache
def _is_unmarked(kind: type, name: str) -> bool:
    """Whether a class's attribute is certainly no hook; each run of a process has objects of the same classes."""
    value = inspect.getattr_static(kind, name, None)
    marked = any(hasattr(one, "oarlock_impl") for one in (value, getattr(value, "__func__", None)))
    return not marked and not isinstance(value, MemberDescriptorType)


@functools.cache
def _specification(module_or_class: Any, name: str) -> Any:
    """What a hook's specification says; each run of a process has a manager, and the same specifications."""
    return pluggy.PluginManager("oarlock").parse_hookspec_opts(module_or_class, name)
