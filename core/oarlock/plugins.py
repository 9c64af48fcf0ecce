"""Finding plugins, loading them so that a broken one harms nobody, and the register of their components."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pluggy

from oarlock import hookspecs
from oarlock.component import BadComponent, verify, verify_types
from oarlock.errors import UserError, nearest, one_line, warn
from oarlock.schema import RootConfig
from oarlock.selection import Selection, read_selection

ENTRY_POINTS = OWN_DISTRIBUTION = "oarlock"
NO_DISTRIBUTION = "no distribution"
MODULE_HOOKS = ("register_hookspecs", "register_components", "register_commands", "on_sweep_requested")


@dataclass
class Plugin:
    """A plugin module: where it comes from and what became of it.

    Attributes:
        name: its entry point, or the module's name where the user asked for the module.
        reason: why it is broken; '' where it is not.
        skipped: why it was not loaded on purpose; '' where it was.
        refused: components and commands that cannot be chosen, with the reason.
    """

    name: str
    module: str
    distribution: str
    version: str
    reason: str = ""
    skipped: str = ""
    components: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    imports_paddle: bool = False
    loaded: ModuleType | None = None

    @property
    def package(self) -> str:
        return f"{self.distribution} {self.version}".rstrip()

    @property
    def origin(self) -> str:
        return f"'{self.name}' of {self.package}"

    @property
    def state(self) -> str:
        """loaded, broken or skipped."""
        return "skipped" if self.skipped else "broken" if self.reason else "loaded"

    @property
    def file(self) -> str:
        """Where the module was loaded from; '' where it was not, since to look is to import its parents."""
        return str(getattr(self.loaded, "__file__", "") or "")

    @property
    def empty(self) -> bool:
        """Whether it was loaded and implements none of a module's hooks."""
        return self.loaded is not None and not any(hasattr(self.loaded, hook) for hook in MODULE_HOOKS)


@dataclass(frozen=True)
class Group:
    """A config group; one with `many` takes a list of options.

    Attributes:
        of_run: whether it is part of a run; what is not (a sweep) stands in no run's configuration.
    """

    name: str
    many: bool = False
    required: bool = False
    of_run: bool = True


BUILT_IN_GROUPS = (
    Group("data", required=True),
    Group("model", required=True),
    Group("task", required=True),
    Group("optimizer", required=True),
    Group("schedule", required=True),
    Group("engine"),
    Group("regularizer", many=True),
    Group("callback", many=True),
    Group("sweep", of_run=False),
)
BUILT_IN_NAMES = {group.name for group in BUILT_IN_GROUPS}
# What stands at the root of a configuration and is no group of components.
TAKEN_NAMES = {"hydra", "experiment", "defaults", *(field.name for field in fields(RootConfig))}


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
    plugin: Plugin | None = None


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
        self._claims: dict[str, list[Plugin]] = {}
        self._by_class: dict[type, Entry] = {}
        self._configurable: set[type] = set()

    def add(
        self, path: str, cls: type, plugin: Plugin, hooks: Mapping[str, Collection[str]], many: bool = False
    ) -> None:
        """Register `cls` as `group/name`; refuse this one component, and say why, where that cannot be."""
        claims = self._claims.setdefault(path, [])
        claims.append(plugin)
        try:
            verify(cls, hooks)
            self._verify(path, cls, many)
        except BadComponent as error:
            self.refuse(path, f"{plugin.origin}: {error}", plugin)
        if len(claims) > 1:
            # Neither wins: which package came first on the path is no reason to train with it.
            both = " and by ".join(claim.origin for claim in claims)
            self.refuse(path, f"'{path}' is registered twice, by {both}", *claims)
        elif path not in self.refused:
            group, name = path.split("/")
            if many:
                self.groups[group] = Group(group, many=True)
            self.groups.setdefault(group, Group(group))
            self.entries[path] = self._by_class[cls] = Entry(group, name, cls, plugin)
            plugin.components.append(path)

    def _verify(self, path: str, cls: type, many: bool) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*/[a-z][a-z0-9_]*", path):
            raise BadComponent(f"'{path}' is not 'group/name' in lower case")
        group = path.partition("/")[0]
        if group in TAKEN_NAMES:
            raise BadComponent(f"'{group}' cannot be a component group: the name is taken")
        if many and group in BUILT_IN_NAMES and not self.groups[group].many:
            raise BadComponent(f"the group '{group}' takes one component, '{path}' was registered with many=True")
        if cls in self._by_class:
            # From a configuration comes a class, and the class must say which component it is.
            raise BadComponent(
                f"{cls.__module__}.{cls.__qualname__} is '{self._by_class[cls].path}' already; "
                f"register a subclass, decorated with @component, as '{path}'"
            )

    def refuse(self, path: str, reason: str, *plugins: Plugin) -> None:
        """Make a component one that cannot be chosen; `plugins` registered it."""
        self.refused[path] = reason
        entry = self.entries.pop(path, None)
        if entry is not None:
            del self._by_class[entry.cls]
        for plugin in plugins:
            plugin.refused[path] = reason
            if path in plugin.components:
                plugin.components.remove(path)

    def refuse_unconfigurable(self) -> None:
        """Refuse the components whose types cannot be a configuration; apart from `add`, since it takes OmegaConf."""
        for path, entry in list(self.entries.items()):
            if entry.cls in self._configurable:
                continue
            try:
                verify_types(entry.cls)
                self._configurable.add(entry.cls)
            except BadComponent as error:
                self.refuse(path, f"{entry.plugin.origin}: {error}", entry.plugin)

    def remove(self, plugin: Plugin) -> None:
        """Refuse what a plugin registered before it failed."""
        for path in list(plugin.components):
            self.refuse(path, f"its plugin did not load: {plugin.origin}: {plugin.reason}", plugin)

    def options(self, group: str) -> list[str]:
        return sorted(entry.name for entry in self.entries.values() if entry.group == group)

    def of(self, cls: object) -> Entry | None:
        """The entry under which a class is registered."""
        return self._by_class.get(cls) if isinstance(cls, type) else None


class RunManager(pluggy.PluginManager):
    """Pluggy's manager, which does not look for hooks among the two dozen methods that every object has."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        return None if name.startswith("__") else super().parse_hookimpl_opts(plugin, name)

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        return None if name.startswith("__") else super().parse_hookspec_opts(module_or_class, name)


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
    def hooks(self) -> dict[str, tuple[str, ...]]:
        """The arguments of every hook, by its name."""
        return {name: hook.spec.argnames for name, hook in vars(self.manager.hook).items() if not name.startswith("_")}

    @property
    def broken(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if plugin.reason]

    @property
    def skipped(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if plugin.skipped]

    def hooks_of(self, plugin: Plugin) -> list[str]:
        """The hooks that a plugin's module and its components implement."""
        classes = [self.registry.entries[path].cls for path in plugin.components]
        return [hook for hook in self.hooks
                if any(hasattr(getattr(owner, hook, None), "oarlock_impl") for owner in (plugin.loaded, *classes))]  # fmt: skip

    def explain_missing(self, group: str, name: str) -> UserError:
        """Why `group=name` cannot be chosen: refused, never there, or perhaps in a plugin that is broken."""
        path = f"{group}/{name}"
        if path in self.registry.refused:
            reason = self.registry.refused[path]
            return UserError(f"{group}={name} cannot be used: {reason}{'' if reason.endswith(('?', '.')) else '.'}")
        lines = [f"{group}={name}: there is no such {group}. {nearest(name, self.registry.options(group))}"]
        lines += [f"Refused: {reason.rstrip('.')}." for path, reason in self.registry.refused.items()
                  if path.rpartition("/")[2].lower() == name]  # fmt: skip
        if len(self.broken) > 2:
            packages = ", ".join(dict.fromkeys(plugin.package for plugin in self.broken))
            lines.append(f"Plugins of these did not load: {packages}; 'oarlock plugins' says why.")
        else:
            lines += [f"A plugin did not load: {plugin.origin}: {plugin.reason}" for plugin in self.broken]
        if self.skipped:
            why = " and ".join(dict.fromkeys(plugin.skipped for plugin in self.skipped))
            count = f"{len(self.skipped)} plugins were" if len(self.skipped) > 1 else "1 plugin was"
            lines.append(f"{count} left out: {why}.")
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
            key = f"command {name}"
            if name in self.commands or key in self.registry.refused:
                first = self.commands.pop(name, None)
                if first is not None and first.plugin is not None:
                    first.plugin.commands.remove(name)
                    reason = f"the command '{name}' is registered twice, by {first.plugin.origin}"
                    self.registry.refuse(key, reason, first.plugin)
                self.registry.refuse(key, f"{self.registry.refused[key]} and by {plugin.origin}", plugin)
                return
            self.commands[name] = Command(name, help, configure, run, plugin)
            plugin.commands.append(name)

        return register

    def refuse_command(self, name: str, why: str) -> None:
        """Take a plugin's command away, if there is one of this name."""
        command = self.commands.pop(name, None)
        if command is not None and command.plugin is not None:
            command.plugin.commands.remove(name)
            self.registry.refuse(f"command {name}", f"the command '{name}' of {command.plugin.origin} {why}",
                                 command.plugin)  # fmt: skip

    def run_manager(self) -> pluggy.PluginManager:
        """A plugin manager for one run: all hook specifications, no implementation yet."""
        manager = RunManager("oarlock")
        for specification in self.hookspecs:
            manager.add_hookspecs(specification)
        return manager

    def add(self, plugin: Plugin, module: ModuleType) -> None:
        """Register a loaded module's hooks.

        Raises:
            BadComponent: one of them is no hook, is not marked, or would never be called there.
        """
        for name in vars(module):
            marked = hasattr(getattr(module, name), "oarlock_impl")
            if marked and name not in self.hooks:
                raise BadComponent(f"{module.__name__}.{name} is marked @hookimpl but there is no such hook. "
                                   f"{nearest(name, self.hooks)}")  # fmt: skip
            if marked and name not in MODULE_HOOKS:
                raise BadComponent(f"{module.__name__}.{name} is a hook of components; in a module it is never called")
            if name in MODULE_HOOKS and not marked:
                raise BadComponent(f"{module.__name__}.{name} bears the name of a hook but is not marked: "
                                   "add @hookimpl")  # fmt: skip
        self.manager.register(module, name=f"{plugin.distribution}:{plugin.name}")
        plugin.loaded = module

    def remove(self, plugin: Plugin) -> None:
        """Forget a plugin that failed; what it had registered is refused with its reason."""
        self.registry.remove(plugin)
        for name in plugin.commands:
            del self.commands[name]
        plugin.commands.clear()
        if plugin.loaded is not None:
            self.manager.unregister(plugin.loaded)
            plugin.loaded = None


def load_host() -> Host:
    """Find, import and register the plugins. A plugin that fails is quarantined with its reason, never fatal.

    Which ones, the environment says: see `oarlock.selection`.

    Raises:
        UserError: a module that the user named does not load.
    """
    host = Host()
    host.plugins = list(_discover(read_selection(os.environ)))

    def each(action: Callable[[Plugin], None]) -> None:
        for plugin in host.plugins:
            if plugin.state == "loaded":
                _attempt(host, plugin, action)

    each(lambda plugin: host.add(plugin, _import(plugin)))
    # Three passes, because a component is verified against the hooks that any plugin may have added.
    each(lambda plugin: _call(plugin, "register_hookspecs", host.add_hookspecs))
    each(lambda plugin: _call(plugin, "register_components", host.component_register(plugin)))
    each(lambda plugin: _call(plugin, "register_commands", host.command_register(plugin)))
    for plugin in host.broken:
        if plugin.distribution == NO_DISTRIBUTION:
            raise UserError(f"-p {plugin.module}: the module did not load: {plugin.reason}\n"
                            "A module is named without .py, and its folder must be on PYTHONPATH.")  # fmt: skip
    return host


def _import(plugin: Plugin) -> ModuleType:
    if ":" in plugin.module:
        raise BadComponent(f"the entry point must name a module, '{plugin.module}' names an object in one")
    module = importlib.import_module(plugin.module)
    written_for = getattr(module, "OARLOCK_API", hookspecs.API_VERSION)
    if written_for not in hookspecs.API_WINDOW:
        newer = isinstance(written_for, int) and written_for > hookspecs.API_VERSION
        raise BadComponent(
            f"it is written for version {written_for} of oarlock's plugin API; this oarlock has "
            f"{hookspecs.API_VERSION} and runs plugins from {hookspecs.API_WINDOW[0]} on. "
            f"Upgrade {'oarlock' if newer else plugin.distribution}"
        )
    return module


def _discover(selection: Selection) -> Iterator[Plugin]:
    """The plugins, those that are left out too, and those modules that the user names."""
    entry_points = {plugin.module: plugin for plugin in _entry_points()}
    names = {plugin.name for plugin in entry_points.values()} | set(selection.modules)
    for name in sorted(selection.without - names):
        warn(f"no:{name} leaves nothing out: no plugin has this name. {nearest(name, names)}")
    for plugin in entry_points.values():
        own = plugin.distribution == OWN_DISTRIBUTION
        named = plugin.module in selection.modules
        chosen = replace(selection, autoload=selection.autoload or named)
        plugin.skipped = chosen.why_not(plugin.name, plugin.distribution, own)
        yield plugin
    for module in selection.modules:
        if module in entry_points:
            continue
        plugin = Plugin(module, module, NO_DISTRIBUTION, "")
        if selection.allowed is not None:
            # It takes a while to find out whose module it is, so only where somebody wants to know.
            for name in metadata.packages_distributions().get(module.partition(".")[0], [])[:1]:
                plugin.distribution, plugin.version = name, metadata.version(name)
        plugin.skipped = replace(selection, autoload=True).why_not(module, plugin.distribution, own=False)
        yield plugin


def _entry_points() -> Iterator[Plugin]:
    """The entry points, each once; a name that two distributions claim is refused for both, unless it is ours."""
    found: dict[str, dict[str, Plugin]] = {}
    known: dict[int, tuple[str, str]] = {0: ("unknown", "unknown")}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        key = id(point.dist) if point.dist else 0
        if point.dist and key not in known:
            read = point.dist.metadata  # it is parsed anew each time, with the whole README in it
            known[key] = (read["Name"], read["Version"])
        name, version = known[key]
        # An editable install can be seen twice; that is one distribution, not two.
        found.setdefault(point.name, {}).setdefault(name, Plugin(point.name, point.value, name, version))
    for name, claims in sorted(found.items()):
        if len(claims) > 1:
            both = " and by ".join(plugin.package for _, plugin in sorted(claims.items()))
            for distribution, plugin in claims.items():
                # A stranger who names a plugin `data` must not take away everybody's built-in data.
                if OWN_DISTRIBUTION not in claims:
                    plugin.reason = f"the plugin name '{name}' is claimed by {both}; uninstall one"
                elif distribution != OWN_DISTRIBUTION:
                    plugin.reason = f"the plugin name '{name}' is claimed by {both}; it needs another name"
        yield from claims.values()


def _call(plugin: Plugin, hook: str, register: Callable[..., None]) -> None:
    """Call one module's own registration hook, so that what goes wrong is laid at the right door."""
    implementation = getattr(plugin.loaded, hook, None)
    if implementation is not None:
        implementation(register)


def _attempt(host: Host, plugin: Plugin, action: Callable[[Plugin], None]) -> None:
    """Whatever a plugin does while it loads (raise, exit, print), the host goes on without it."""
    had_paddle = "paddle" in sys.modules
    try:
        # Its prints would end up in the middle of a completion or of `--cfg job`.
        with contextlib.redirect_stdout(io.StringIO()):
            action(plugin)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a plugin must not end the process
        plugin.reason = _reason(error)
        host.remove(plugin)
    plugin.imports_paddle |= "paddle" in sys.modules and not had_paddle


def _reason(error: BaseException) -> str:
    """What was raised, and in which line of whose file."""
    if isinstance(error, BadComponent):
        return str(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _ours(frame.filename)]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {one_line(error)}{where}"


def _ours(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen")
