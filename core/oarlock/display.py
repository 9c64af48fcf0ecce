"""What help, `plugins` and `show` print, straight from the registry: no Hydra, no Paddle."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import Mapping
from enum import Enum
from typing import Any

from oarlock.completion import SHIPPED, defaults, experiments
from oarlock.component import choices, field_docs, field_types, prose, summary
from oarlock.errors import UserError, nearest
from oarlock.plugins import Host
from oarlock.registry import Command
from oarlock.schema import CheckpointConfig, RootConfig, RuntimeConfig, TrainerConfig

# What OmegaConf takes for a value that must be given.
MISSING = "???"
CORE_NODES = {"trainer": TrainerConfig, "runtime": RuntimeConfig, "root": RootConfig}


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
    nodes = {"": RootConfig, "runtime.": RuntimeConfig, "trainer.": TrainerConfig,
             "trainer.checkpoint.": CheckpointConfig}  # fmt: skip
    for path, cls in nodes.items():
        docs = field_docs(cls)
        for field in dataclasses.fields(cls):
            if not dataclasses.is_dataclass(_default(field)):
                name = f"{path}{field.name}={_text(_default(field))}"
                lines.append(_wrapped(f"  {name:<37} ", docs.get(field.name, ""), 40))
    return "\n".join(lines)


def plugins(host: Host) -> str:
    """Every component with where it comes from, then what is not as it should be and why."""
    host.registry.refuse_unconfigurable()
    entries = sorted(host.registry.entries.values(), key=lambda entry: entry.path)
    rows = [(entry.path, entry.plugin.package, summary(entry.cls)) for entry in entries]
    rows += [(f"command {name}", command.plugin.package if command.plugin else "", command.help)
             for name, command in host.commands.items()]  # fmt: skip
    wide = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = [_cut(f"{path:<{wide[0]}}  {origin:<{wide[1]}}  {text}".rstrip()) for path, origin, text in rows]
    lines += ["", "plugins:"]
    for plugin in sorted(host.plugins, key=lambda plugin: (plugin.distribution, plugin.name)):
        lines.append(
            f"  {plugin.name}: {plugin.package}, {plugin.state}, {plugin.skipped or plugin.file or plugin.module}"
        )
        if hooks := host.hooks_of(plugin):
            lines.append(_wrapped("    ", " ".join(hooks), 4))
    lines += [f"refused: {reason}" for reason in dict.fromkeys(host.registry.refused.values())]
    lines += [f"broken: {plugin.origin}: {plugin.reason}" for plugin in host.broken]
    lines += [f"slow: {plugin.origin} imports Paddle when it is loaded; import it inside the hooks"
              for plugin in host.plugins if plugin.imports_paddle]  # fmt: skip
    lines += [f"empty: {plugin.origin}: its module has no register_components, register_commands or "
              "register_hookspecs" for plugin in host.plugins if plugin.empty]  # fmt: skip
    return "\n".join(lines)


def plugins_json(host: Host) -> str:
    """The plugins as one JSON list."""
    host.registry.refuse_unconfigurable()
    return json.dumps(
        [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "module": plugin.module,
                "components": plugin.components,
                "commands": plugin.commands,
                "refused": plugin.refused,
                "file": plugin.file,
                "hooks": host.hooks_of(plugin),
                "state": plugin.state,
                "reason": plugin.skipped or plugin.reason,
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
    registry.refuse_unconfigurable()
    name = name.replace("=", "/")
    kind, _, option = name.partition("/")
    if kind == "experiment":
        return _experiment(option)
    if name in CORE_NODES:
        return _fields("Options of the core", CORE_NODES[name], f"{name}." if name != "root" else "")
    if name in registry.groups:
        if not registry.options(name):
            return f"{name}: no plugin that is installed has one"
        group = registry.groups[name]
        lines = [f"{name}: takes {'a list' if group.many else 'one' if group.required else 'one, or none,'} of"]
        lines += [f"  {option:<18}{summary(registry.entries[f'{name}/{option}'].cls)}"
                  for option in registry.options(name)]  # fmt: skip
        return "\n".join(lines)
    entry = registry.entries.get(name)
    if entry is None:
        if kind in registry.groups and option:
            raise host.explain_missing(kind, option)
        choices = [*registry.entries, *registry.groups, *CORE_NODES, "experiment"]
        alone = [path for path in registry.entries if path.endswith(f"/{name}")]  # `show adam`
        hint = f"Did you mean '{alone[0]}'?" if alone else nearest(name, choices)
        raise UserError(f"show {name}: there is no such component or group. {hint}")
    many = registry.groups[entry.group].many
    prefix = f"{entry.group}.{entry.name}." if many else f"{entry.group}."
    choose = f"+{entry.group}={entry.name}" if many else f"{entry.group}={entry.name}"
    head = f"{name} ({entry.plugin.package}); choose it with {choose}"
    return _fields(f"{head}\n\n{_prose(entry.cls)}", entry.cls, prefix)


def _experiment(name: str) -> str:
    """The file of an experiment that comes with oarlock; of the group itself their names.

    Raises:
        UserError: there is none of this name.
    """
    shipped = experiments()
    if not name:
        head = "experiment: takes one, or none, of these, or of yours: DIR/experiment/mine.yaml with --config-dir DIR"
        return "\n".join([head, *(f"  {one}" for one in shipped)])
    if name not in shipped:
        raise UserError(f"show experiment/{name}: there is no such experiment. {nearest(name, shipped)}")
    return SHIPPED.joinpath(f"{name}.yaml").read_text(encoding="utf-8").rstrip()


def _fields(head: str, cls: type, prefix: str, given: Any = None) -> str:
    """A component's options.

    Args:
        head: what stands above them.
        cls: its class.
        prefix: what stands before each name in an override.
        given: an instance whose values are the defaults, where it stands in a field of another one.
    """
    lines = [head, ""]
    docs, types = field_docs(cls), field_types(cls)
    for field in dataclasses.fields(cls):
        default = _default(field) if given is None else getattr(given, field.name)
        few = choices(types[field.name])
        kind = " | ".join(few) if {*few} - {"false", "true", "null"} else _kind(field)
        if dataclasses.is_dataclass(default):
            lines.append(f"  {prefix}{field.name}: {docs.get(field.name, '')}")
            lines += _fields("", type(default), f"{prefix}{field.name}.", default).split("\n")[2:]
            continue
        value, kind = ("…", f"{kind}, needed") if default == MISSING else (_text(default), kind)
        lines.append(f"  {prefix}{field.name}={value}  ({kind})")
        if field.name in docs:
            lines.append(textwrap.indent("\n".join(textwrap.wrap(docs[field.name], max(_width() - 6, 20))), "      "))
    return "\n".join(lines if len(lines) > 2 else [*lines, "It has no options."])


def _prose(cls: type) -> str:
    return prose(cls)


def _kind(field: dataclasses.Field[Any]) -> str:
    """The type as its author wrote it, enumerations with their members."""
    default = _default(field)
    if isinstance(default, Enum):
        return " | ".join(type(default).__members__)
    kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
    if "[" in str(field.type):
        kind = str(field.type)
    kind = kind.replace("typing.", "")
    if kind.startswith("Optional["):
        return f"{kind[9:-1]} or null"
    return f"{kind[:-7]} or null" if kind.endswith(" | None") else kind


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return MISSING


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


def _cut(line: str) -> str:
    """The line as far as a terminal shows it; whole where it goes to a file or a pipe."""
    width = shutil.get_terminal_size().columns
    return line if not sys.stdout.isatty() or len(line) <= width else f"{line[: width - 1]}…"


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 110)
