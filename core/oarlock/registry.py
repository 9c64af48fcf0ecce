"""What plugins register: components in their groups, commands, and what was refused of either."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Protocol

from oarlock.component import BadComponent, verify, verify_types
from oarlock.schema import RootConfig

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
