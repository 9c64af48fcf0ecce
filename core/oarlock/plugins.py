"""Finding plugins, loading them so that a broken one harms nobody, and the register of their components."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from types import ModuleType
from typing import Any, Protocol

import pluggy

from oarlock import hookspecs
from oarlock.component import BadComponent, verify
from oarlock.errors import UserError, nearest

ENTRY_POINTS = "oarlock"


@dataclass
class Plugin:
    """A plugin module: where it comes from and what became of it."""

    name: str
    module: str
    distribution: str
    version: str
    reason: str = ""
    components: list[str] = field(default_factory=list)
    loaded: ModuleType | None = None

    @property
    def origin(self) -> str:
        return f"'{self.name}' of {self.distribution} {self.version}"


@dataclass(frozen=True)
class Group:
    """A config group; one with `many` takes a list of options."""

    name: str
    many: bool = False
    required: bool = False


BUILT_IN_GROUPS = (
    Group("data", required=True),
    Group("model", required=True),
    Group("task", required=True),
    Group("optimizer", required=True),
    Group("schedule", required=True),
    Group("engine"),
    Group("regularizer", many=True),
    Group("callback", many=True),
)


@dataclass(frozen=True)
class Entry:
    """A registered component."""

    group: str
    name: str
    cls: type
    plugin: Plugin

    @property
    def path(self) -> str:
        return f"{self.group}/{self.name}"


Configure = Callable[[argparse.ArgumentParser], None]


@dataclass(frozen=True)
class Command:
    """A subcommand of `oarlock`: `configure` adds arguments to its parser, `run` returns the exit code."""

    name: str
    help: str
    configure: Configure
    run: Callable[[argparse.Namespace], int]


class RegisterComponent(Protocol):
    """What `register_components` is handed."""

    def __call__(self, path: str, cls: type, *, many: bool = False) -> None: ...


class RegisterCommand(Protocol):
    """What `register_commands` is handed."""

    def __call__(
        self, name: str, *, help: str, configure: Configure, run: Callable[[argparse.Namespace], int]
    ) -> None: ...


class Registry:
    """The components by group and name, and why those that were refused were refused."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {group.name: group for group in BUILT_IN_GROUPS}
        self.entries: dict[str, Entry] = {}
        self.refused: dict[str, str] = {}
        self._by_class: dict[type, Entry] = {}

    def add(self, path: str, cls: type, plugin: Plugin, hooks: set[str], many: bool = False) -> None:
        """Register `cls` as `group/name`.

        Raises:
            BadComponent: the path or the class cannot be used.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*/[a-z][a-z0-9_]*", path):
            raise BadComponent(f"'{path}' is not 'group/name' in lower case")
        verify(cls, hooks)
        group, name = path.split("/")
        if group == "hydra" or group in ("trainer", "seed", "device", "deterministic", "experiment"):
            raise BadComponent(f"'{group}' cannot be a component group: the name is taken")
        known = self.groups.setdefault(group, Group(group, many=many))
        if many and not known.many:
            raise BadComponent(f"the group '{group}' takes one component, '{path}' was registered with many=True")
        entry = Entry(group, name, cls, plugin)
        if path in self.refused:
            self.refused[path] += f", {plugin.origin}"
        elif path in self.entries:
            # Neither wins: which package came first on the path is no reason to train with it.
            first = self.entries.pop(path)
            self.refused[path] = f"'{path}' is registered twice, by {first.plugin.origin} and by {plugin.origin}"
        else:
            self.entries[path] = entry
            self._by_class[cls] = entry
            plugin.components.append(path)

    def remove(self, plugin: Plugin) -> None:
        """Forget what a plugin registered before it failed."""
        for path in plugin.components:
            entry = self.entries.pop(path, None)
            if entry:
                self._by_class.pop(entry.cls, None)
        plugin.components.clear()

    def options(self, group: str) -> list[str]:
        return sorted(entry.name for entry in self.entries.values() if entry.group == group)

    def of(self, cls: object) -> Entry | None:
        """The entry under which a class is registered."""
        return self._by_class.get(cls) if isinstance(cls, type) else None


class Host:
    """The plugins of this process. Made once per process entry and handed on; nothing here is global."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("oarlock")
        self.manager.add_hookspecs(hookspecs)
        self.hookspecs: list[ModuleType | type] = [hookspecs]
        self.plugins: list[Plugin] = []
        self.registry = Registry()
        self.commands: dict[str, Command] = {}

    @property
    def hooks(self) -> set[str]:
        return {name for name in vars(self.manager.hook) if not name.startswith("_")}

    @property
    def broken(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if plugin.reason]

    def explain_missing(self, group: str, name: str) -> UserError:
        """Why `group=name` cannot be chosen: refused, never there, or perhaps in a plugin that is broken."""
        path = f"{group}/{name}"
        if path in self.registry.refused:
            return UserError(f"{group}={name} cannot be used: {self.registry.refused[path]}.")
        lines = [f"{group}={name}: there is no such {group}. {nearest(name, self.registry.options(group))}"]
        lines += [f"A plugin did not load: {plugin.origin}: {plugin.reason}" for plugin in self.broken[:2]]
        return UserError("\n".join(lines))

    def add_hookspecs(self, specification: ModuleType | type) -> None:
        """Add the hooks of a new group; they exist in every run."""
        self.manager.add_hookspecs(specification)
        self.hookspecs.append(specification)

    def component_register(self, plugin: Plugin) -> RegisterComponent:
        def register(path: str, cls: type, *, many: bool = False) -> None:
            self.registry.add(path, cls, plugin, self.hooks, many)

        return register

    def command_register(self, plugin: Plugin) -> RegisterCommand:
        def register(name: str, *, help: str, configure: Configure, run: Callable[[Any], int]) -> None:
            if name in self.commands:
                raise BadComponent(f"the command '{name}' is already registered")
            self.commands[name] = Command(name, help, configure, run)

        return register

    def run_manager(self) -> pluggy.PluginManager:
        """A plugin manager for one run: all hook specifications, no implementation yet."""
        manager = pluggy.PluginManager("oarlock")
        for specification in self.hookspecs:
            manager.add_hookspecs(specification)
        return manager

    def add(self, plugin: Plugin, module: ModuleType) -> None:
        """Register a loaded module's hooks, and refuse it when one of them is no hook."""
        for name in vars(module):
            if hasattr(getattr(module, name), "oarlock_impl") and name not in self.hooks:
                raise BadComponent(f"{module.__name__}.{name} is marked @hookimpl but there is no such hook. "
                                   f"{nearest(name, self.hooks)}")  # fmt: skip
        self.manager.register(module, name=f"{plugin.distribution}:{plugin.name}")
        plugin.loaded = module


def load_host() -> Host:
    """Find, import and register every plugin. A plugin that fails is quarantined with its reason, never fatal."""
    host = Host()
    host.plugins = list(_discover())

    def each(action: Callable[[Plugin], None]) -> None:
        for plugin in host.plugins:
            if not plugin.reason:
                _attempt(host, plugin, action)

    each(lambda plugin: host.add(plugin, importlib.import_module(plugin.module)))
    # Three passes, because a component is verified against the hooks that any plugin may have added.
    each(lambda plugin: _call(plugin, "register_hookspecs", host.add_hookspecs))
    each(lambda plugin: _call(plugin, "register_components", host.component_register(plugin)))
    each(lambda plugin: _call(plugin, "register_commands", host.command_register(plugin)))
    return host


def _discover() -> Iterator[Plugin]:
    """The entry points, each once; a name that two distributions claim is refused for both."""
    found: dict[str, dict[str, Plugin]] = {}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        name = point.dist.metadata["Name"] if point.dist else "unknown"
        version = point.dist.version if point.dist else "unknown"
        # An editable install can be seen twice; that is one distribution, not two.
        found.setdefault(point.name, {}).setdefault(name, Plugin(point.name, point.value, name, version))
    for name, claims in sorted(found.items()):
        if len(claims) > 1:
            both = " and by ".join(f"{plugin.distribution} {plugin.version}" for _, plugin in sorted(claims.items()))
            for plugin in claims.values():
                plugin.reason = f"the plugin name '{name}' is claimed by {both}; uninstall one"
        yield from claims.values()


def _call(plugin: Plugin, hook: str, register: Callable[..., None]) -> None:
    """Call one module's own registration hook, so that what goes wrong is laid at the right door."""
    implementation = getattr(plugin.loaded, hook, None)
    if implementation is not None:
        implementation(register)


def _attempt(host: Host, plugin: Plugin, action: Callable[[Plugin], None]) -> None:
    """Whatever a plugin does while it loads (raise, exit, print), the host goes on without it."""
    try:
        # Its prints would end up in the middle of a completion or of `--cfg job`.
        with contextlib.redirect_stdout(io.StringIO()):
            action(plugin)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a plugin must not end the process
        plugin.reason = f"{type(error).__name__}: {error}".split("\n")[0]
        host.registry.remove(plugin)
        if plugin.loaded is not None:
            host.manager.unregister(plugin.loaded)
            plugin.loaded = None
