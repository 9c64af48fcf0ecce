"""Pluggy's manager of one run, made for processes that make thousands of runs, and for hooks on each step."""

from __future__ import annotations

import functools
import gc
from types import FunctionType, MethodType, ModuleType
from typing import Any

import pluggy


class RunManager(pluggy.PluginManager):
    """Pluggy's manager, which finds the hooks of an object in its class, once for all objects of it.

    Pluggy's own looks into each object, which takes a tenth of a millisecond; and CPython 3.11 and 3.12 keep the attributes of
    an object in a dict once somebody has looked into it, and take several reads of memory more for each of them.

    Args:
        specified: a manager that has the specifications of all hooks; to read them again takes half a millisecond.
    """

    def __init__(self, specified: pluggy.PluginManager) -> None:
        super().__init__(specified.project_name)
        for name, relay in vars(specified.hook).items():
            if isinstance(relay, pluggy.HookCaller) and relay.spec is not None:
                own = pluggy.HookCaller(name, self._hookexec)
                own.spec = relay.spec
                own._call_history = [] if relay.is_historic() else None
                setattr(self.hook, name, own)

    def register(self, plugin: Any, name: str | None = None) -> str | None:
        wanted = name or self.get_canonical_name(plugin)
        found = None if may_hold_hooks(plugin) else self._methods(plugin, wanted)
        if found is None or wanted in self._name2plugin or any(plugin is one for one in self._name2plugin.values()):
            return super().register(plugin, name)
        for relay, implementation in found:
            self._verify_hook(relay, implementation)
        self._name2plugin[wanted] = plugin
        for relay, implementation in found:
            relay._add_hookimpl(implementation)
        return wanted

    def _methods(self, plugin: Any, name: str) -> list[tuple[Any, pluggy.HookImpl]] | None:
        """The hooks of a class's object, each with its relay; None where one is more than a method of a known hook."""
        found = []
        kind: Any = type(plugin)
        for attribute, options in _hooks_of(kind):
            method, relay = getattr(plugin, attribute), getattr(self.hook, options["specname"] or attribute, None)
            if not isinstance(method, MethodType) or method.__self__ is not plugin:
                return None
            if relay is None or not relay.has_spec() or relay.is_historic():
                return None
            found.append((relay, pluggy.HookImpl(plugin, name, method, options)))
        return found


def may_hold_hooks(plugin: Any) -> bool:
    """Whether an object may have hooks that are not its class's; told without a look at its `__dict__`."""
    if isinstance(plugin, (ModuleType, type)):
        return True
    held = gc.get_referents(plugin)
    held += [value for one in held if type(one) is dict for value in one.values()]
    return any(isinstance(one, (FunctionType, MethodType)) for one in held)


@functools.cache
def _hooks_of(kind: type) -> list[tuple[str, Any]]:
    """The attributes of a class that are hooks, each with what its mark says."""
    manager = pluggy.PluginManager("oarlock")
    options = {name: manager.parse_hookimpl_opts(kind, name) for name in dir(kind) if not name.startswith("__")}
    return [(name, said) for name, said in options.items() if said is not None]
