"""What help, `plugins` and `show` print, straight from the registry: no Hydra, no Paddle."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shutil
import textwrap
from collections.abc import Mapping
from enum import Enum
from importlib import resources
from typing import Any

import yaml

from oarlock.completion import experiments
from oarlock.component import field_docs, summary
from oarlock.errors import UserError, nearest
from oarlock.plugins import Command, Host
from oarlock.schema import CheckpointConfig, RootConfig, TrainerConfig

CORE_NODES = {"trainer": TrainerConfig, "root": RootConfig}


def overview(commands: Mapping[str, Command]) -> str:
    """The help of `oarlock` itself."""
    lines = ["usage: oarlock COMMAND …", "", "A plugin-based experiment framework for PaddlePaddle.", ""]
    lines += [f"  {name:<12}{command.help}" for name, command in commands.items()]
    return "\n".join([*lines, "", "'oarlock COMMAND --help' says more; start with 'oarlock train'."])


def groups(host: Host) -> str:
    """Every group with its options, for the help of `train`."""
    lines = ["groups and their options, * by default:"]
    chosen = defaults()
    for group in host.registry.groups.values():
        options = [f"{option}*" if option in chosen.get(group.name, ()) else option
                   for option in host.registry.options(group.name)]  # fmt: skip
        if options:
            lines.append(_wrapped(f"  {group.name:<13}", ", ".join(options), 15))
    lines.append(_wrapped(f"  {'experiment':<13}", ", ".join(experiments()), 15))
    lines += ["", "options of the core (oarlock show trainer; oarlock show GROUP/OPTION for a component):"]
    for path, cls in (("", RootConfig), ("trainer.", TrainerConfig), ("trainer.checkpoint.", CheckpointConfig)):
        docs = field_docs(cls)
        for field in dataclasses.fields(cls):
            if not dataclasses.is_dataclass(_default(field)):
                name = f"{path}{field.name}={_text(_default(field))}"
                lines.append(_wrapped(f"  {name:<37} ", docs.get(field.name, ""), 40))
    return "\n".join(lines)


def defaults() -> dict[str, list[str]]:
    """The options that a run without overrides has, by group."""
    chosen: dict[str, list[str]] = {}
    config = resources.files("oarlock_conf").joinpath("config.yaml").read_text(encoding="utf-8")
    for entry in yaml.safe_load(config)["defaults"]:
        for group, names in entry.items() if isinstance(entry, dict) else ():
            chosen[group] = names if isinstance(names, list) else [names]
    return chosen


def plugins(host: Host) -> str:
    """Every component with where it comes from, then what is broken and why."""
    rows = [
        (entry.path, f"{entry.plugin.distribution} {entry.plugin.version}", summary(entry.cls))
        for entry in sorted(host.registry.entries.values(), key=lambda entry: entry.path)
    ]
    wide = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = [f"{path:<{wide[0]}}  {origin:<{wide[1]}}  {text}".rstrip() for path, origin, text in rows]
    lines += [f"command {name}: {command.help}" for name, command in host.commands.items()]
    lines += [f"refused: {reason}" for reason in host.registry.refused.values()]
    lines += [f"broken: {plugin.origin}: {plugin.reason}" for plugin in host.broken]
    return "\n".join(lines)


def plugins_json(host: Host) -> str:
    """The plugins as one JSON list."""
    return json.dumps(
        [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "module": plugin.module,
                "components": plugin.components,
                "state": "broken" if plugin.reason else "loaded",
                "reason": plugin.reason,
            }
            for plugin in host.plugins
        ],
        indent=2,
    )


def show(host: Host, name: str) -> str:
    """A component's documentation and fields, or a group's options.

    Raises:
        UserError: there is no such component or group.
    """
    registry = host.registry
    name = name.replace("=", "/")
    if name in CORE_NODES:
        return _fields("Options of the core", CORE_NODES[name], f"{name}." if name != "root" else "")
    if name in registry.groups:
        lines = [f"{name}: takes {'a list' if registry.groups[name].many else 'one'} of"]
        lines += [f"  {option:<18}{summary(registry.entries[f'{name}/{option}'].cls)}"
                  for option in registry.options(name)]  # fmt: skip
        return "\n".join(lines)
    entry = registry.entries.get(name)
    if entry is None:
        group, _, option = name.partition("/")
        if group in registry.groups and option:
            raise host.explain_missing(group, option)
        raise UserError(f"show {name}: there is no such component or group. "
                        f"{nearest(name, [*registry.entries, *registry.groups, *CORE_NODES])}")  # fmt: skip
    many = registry.groups[entry.group].many
    prefix = f"{entry.group}.{entry.name}." if many else f"{entry.group}."
    choose = f"+{entry.group}={entry.name}" if many else f"{entry.group}={entry.name}"
    head = f"{name} ({entry.plugin.distribution} {entry.plugin.version}); choose it with {choose}"
    return _fields(f"{head}\n\n{_prose(entry.cls)}", entry.cls, prefix)


def _fields(head: str, cls: type, prefix: str) -> str:
    lines = [head, ""]
    docs = field_docs(cls)
    for field in dataclasses.fields(cls):
        default = _default(field)
        kind = _kind(field)
        if dataclasses.is_dataclass(default):
            lines.append(f"  {prefix}{field.name}: {docs.get(field.name, '')}")
            inner = _fields("", type(default), f"{prefix}{field.name}.").split("\n")[2:]
            lines += inner
            continue
        lines.append(f"  {prefix}{field.name}={_text(default)}  ({kind})")
        if field.name in docs:
            lines.append(textwrap.indent("\n".join(textwrap.wrap(docs[field.name], _width() - 6)), "      "))
    return "\n".join(lines)


def _prose(cls: type) -> str:
    return (inspect.getdoc(cls) or "").partition("Args:")[0].strip()


def _kind(field: dataclasses.Field[Any]) -> str:
    """The type as its author wrote it, enumerations with their members."""
    default = _default(field)
    if isinstance(default, Enum):
        return " | ".join(type(default).__members__)
    kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    if "[" in str(field.type):
        kind = str(field.type)
    kind = kind.replace("typing.", "")
    return f"{kind[9:-1]} or null" if kind.startswith("Optional[") else kind


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return "???"


def _text(value: Any) -> str:
    """A value as it is written in an override."""
    if value is None:
        return "null"
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace(" ", "") if isinstance(value, (list, dict)) else str(value)


def _wrapped(head: str, text: str, indent: int) -> str:
    lines = textwrap.wrap(text, max(_width() - indent, 20)) or [""]
    return (head + f"\n{' ' * indent}".join(lines)).rstrip()


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 110)
