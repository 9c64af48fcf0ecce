"""Completion of commands, flags, groups, options and fields, from the registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from oarlock.plugins import Host
from oarlock.schema import RootConfig, TrainerConfig

BASH = r"""_oarlock() {
    local cur words
    # Bash splits words at '=' and ':'; take the line apart at blanks only.
    read -r -a words <<< "${COMP_LINE:0:COMP_POINT}"
    [[ "${COMP_LINE:0:COMP_POINT}" == *" " ]] && words+=("")
    cur="${words[-1]}"
    local IFS=$'\n'
    COMPREPLY=($(oarlock _complete -- "${words[@]:1}" 2>/dev/null))
    local prefix="${cur%"${cur##*[=:]}"}" i
    for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]="${COMPREPLY[i]#"$prefix"}"; done
    [[ "${COMPREPLY[0]}" == *= || "${COMPREPLY[0]}" == *. ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -F _oarlock oarlock
"""
ZSH = r"""#compdef oarlock
_oarlock() {
    local -a found
    found=("${(@f)$(oarlock _complete -- "${words[@]:1:$((CURRENT - 1))}" 2>/dev/null)}")
    compadd -Q -S '' -- "${found[@]}"
}
compdef _oarlock oarlock
"""
FISH = r"""function __oarlock_complete
    set -l words (commandline -opc) (commandline -ct)
    oarlock _complete -- $words[2..-1] 2>/dev/null
end
complete -c oarlock -f -a '(__oarlock_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def candidates(
    host: Host, words: Sequence[str], commands: Sequence[str], flags: Callable[[str], list[str]]
) -> list[str]:
    """What the last of the words may become.

    Args:
        words: the words after `oarlock`; the last one is being typed and may be empty.
        commands: the names of all commands.
        flags: gives the flags of a command.
    """
    current = words[-1] if words else ""
    if len(words) <= 1:
        return _matching(current, list(commands))
    if words[0] not in commands:
        return []
    if current.startswith("-"):
        return _matching(current, flags(words[0]))
    if words[0] in ("train", "check"):
        return _override(host, current, words[1:-1])
    if words[0] == "show":
        return _matching(current, [*sorted(host.registry.entries), *host.registry.groups, "trainer"])
    if words[0] == "completion":
        return _matching(current, sorted(SCRIPTS))
    return []


def _override(host: Host, current: str, others: Sequence[str]) -> list[str]:
    registry = host.registry
    sign = current[0] if current[:1] in ("+", "~") else ""
    key, equals, value = current[len(sign) :].partition("=")
    if not equals:
        keys = [f"{group}=" for group in registry.groups if registry.options(group)]
        keys += [f"{path}=" for path in fields(host, others)] + ["experiment="]
        return [sign + match for match in _matching(key, keys)]
    options = registry.options(key) if key in registry.groups else []
    if key == "experiment":
        options = experiments()
    if key in fields(host, others):
        options = _values(fields(host, others)[key])
    # Within a list, complete the element after the last comma or bracket.
    start = max(value.rfind(","), value.rfind("[")) + 1
    return [f"{sign}{key}={value[:start]}{match}" for match in _matching(value[start:], options)]


def fields(host: Host, overrides: Sequence[str]) -> dict[str, Any]:
    """Every settable field with its default, for the components that are chosen or chosen by default."""
    registry = host.registry
    found = _fields_of(RootConfig(), "")
    found.update(_fields_of(TrainerConfig(), "trainer."))
    chosen = dict(override.lstrip("+").split("=", 1) for override in overrides if "=" in override)
    for entry in registry.entries.values():
        group = registry.groups[entry.group]
        if group.many:
            prefix = f"{entry.group}.{entry.name}."
        elif chosen.get(entry.group, entry.name) == entry.name:
            prefix = f"{entry.group}."
        else:
            continue
        for field in dataclasses.fields(entry.cls):
            found[prefix + field.name] = field.default
    return found


def _fields_of(config: Any, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found.update(_fields_of(value, f"{prefix}{field.name}."))
        else:
            found[prefix + field.name] = value
    return found


def _values(default: Any) -> list[str]:
    if isinstance(default, bool):
        return ["false", "true"]
    return list(type(default).__members__) if isinstance(default, Enum) else []


def experiments() -> list[str]:
    """The experiments that come with oarlock."""
    import oarlock_conf

    folder = Path(oarlock_conf.__file__).parent / "experiment"
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _matching(prefix: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith(prefix)]
