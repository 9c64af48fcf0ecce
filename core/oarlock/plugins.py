"""Finding plugins, and loading them so that a broken one harms nobody."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from oarlock import hookspecs, registry
from oarlock.component import BadComponent
from oarlock.errors import UserError, nearest, one_line, warn
from oarlock.registry import MODULE_HOOKS, Command, Configure, Plugin, RegisterCommand, RegisterComponent, Registry
from oarlock.run_manager import RunManager
from oarlock.selection import Selection, read_selection

ENTRY_POINTS = OWN_DISTRIBUTION = "oarlock"
NO_DISTRIBUTION = "no distribution"


class Host:
    """The plugins of this process. Made once per process entry and handed on; nothing here is global."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("oarlock")
        self.manager.add_hookspecs(hookspecs)
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
        return RunManager(self.manager)

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
        if plugin.distribution == NO_DISTRIBUTION and not any(name in vars(module) for name in MODULE_HOOKS):
            raise BadComponent(f"it registers nothing. Is {module.__file__ or 'it'} the one that is meant?")
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
            missing = re.match(r"ModuleNotFoundError: No module named '([^']*)'", plugin.reason)
            absent = missing is not None and f"{plugin.module}.".startswith(f"{missing[1]}.")
            hint = "\nA module is named without .py, and its folder must be on PYTHONPATH." if absent else ""
            raise UserError(f"-p {plugin.module}: the module did not load: {plugin.reason}{hint}")
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
    return filename in (__file__, registry.__file__, importlib.__file__) or filename.startswith("<frozen")
