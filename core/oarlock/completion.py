"""Completion of commands, flags, groups, options and fields, from the registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

import oarlock_conf
from oarlock.component import choices, field_types
from oarlock.plugins import Host
from oarlock.registry import Entry
from oarlock.schema import RootConfig

CONFIG_DIR_FLAGS = ("-cd", "--config-dir")
# The experiments that come with oarlock.
SHIPPED = Path(oarlock_conf.__file__).parent / "experiment"
BASH = r"""_oarlock() {
    local line="${COMP_LINE:0:COMP_POINT}" words cur prefix="" candidate
    # Bash splits words at '=' and ':'; take the line apart at blanks only.
    read -r -a words <<< "$line"
    [[ "$line" == *[[:blank:]] ]] && words+=("")
    cur="${words[${#words[@]}-1]}"
    [[ "$COMP_WORDBREAKS" == *=* ]] && prefix="${cur%"${cur##*[=:]}"}"
    COMPREPLY=()
    while IFS= read -r candidate; do
        [[ -n "$candidate" ]] && COMPREPLY+=("${candidate#"$prefix"}")
    done < <(oarlock _complete -- "${words[@]:1}" 2>/dev/null)
    [[ "${COMPREPLY[0]}" =~ (=|\.|\[[^]]*)$ ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -F _oarlock oarlock
"""
ZSH = r"""#compdef oarlock
_oarlock() {
    local -a found
    found=(${(f)"$(oarlock _complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then
        compadd -S '' -- "${found[@]}"
    else
        compset -P '*='
        _files
    fi
}
compdef _oarlock oarlock
"""
FISH = r"""function __oarlock_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found (oarlock _complete -- $words[2..-1] 2>/dev/null)
    if test -n "$found"
        string join \n -- $found
    else
        set -l key (string match -r '^[^=]*=' -- $words[-1])
        for path in (__fish_complete_path (string replace -- "$key" "" $words[-1]))
            echo "$key$path"
        end
    end
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
        return _matching(
            current, [*sorted(host.registry.entries), *host.registry.groups, "trainer", "root", "experiment"]
        )
    if words[0] == "completion":
        return _matching(current, sorted(SCRIPTS))
    return []


def _override(host: Host, current: str, others: Sequence[str]) -> list[str]:
    if others and others[-1] in CONFIG_DIR_FLAGS:
        return []  # a folder is being typed
    registry, folder = host.registry, _config_dir(others)
    many = [group.name for group in registry.groups.values() if group.many and registry.options(group.name)]
    if current.startswith("~"):
        paths = [path for path in _chosen(host, others) if path.partition(".")[0] in many]
        return ["~" + match for match in _matching(current[1:], paths)]
    sign = "+" if current.startswith("+") else ""
    key, equals, value = current[len(sign) :].partition("=")
    if not equals and sign:
        return [sign + match for match in _matching(key, [f"{group}=" for group in many])]
    settable = fields(host, others)
    if not equals:
        keys = [f"{group}=" for group in registry.groups if registry.options(group)]
        return _matching(key, [*keys, *(f"{path}=" for path in settable), "experiment=", "hydra.run.dir="])
    group = key.partition("@")[0]
    if group == "experiment":
        options = experiments(folder)
    elif group in registry.groups:
        options = sorted({*registry.options(group), *_own_files(folder, group)})
    else:
        options = choices(settable[key]) if key in settable else []
    # Within a list, complete the element after the last comma or bracket.
    start = max(value.rfind(","), value.rfind("[")) + 1
    taken = _names(value[:start])
    return [f"{sign}{key}={value[:start]}{match}" for match in _matching(value[start:], options) if match not in taken]


def fields(host: Host, overrides: Sequence[str]) -> dict[str, Any]:
    """Every settable field with its type, for the components that are chosen or chosen by default."""
    found = _fields_of(RootConfig, "")
    for path, entries in _chosen(host, overrides).items():
        for entry in entries:
            found.update(_fields_of(entry.cls, f"{path}."))
    return found


def _fields_of(cls: type, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind in field_types(cls).items():
        if dataclasses.is_dataclass(kind):
            found.update(_fields_of(kind, f"{prefix}{name}."))  # type: ignore[arg-type]
        else:
            found[prefix + name] = kind
    return found


def _chosen(host: Host, overrides: Sequence[str]) -> dict[str, list[Entry]]:
    """The components at each config path; several where a sweep is being typed."""
    registry = host.registry
    by_group: dict[str, list[str]] = dict(defaults())
    nested: dict[str, list[Entry]] = {}
    parts = [override.partition("=") for override in overrides]
    for key, _, value in parts:
        if key == "experiment":
            by_group |= defaults(f"experiment/{value}.yaml")
    for key, _, value in parts:
        group, _, path = key.lstrip("+").partition("@")
        if group not in registry.groups:
            continue
        if path:
            nested[path] = _entries(host, group, _names(value))
        elif key.startswith("+"):
            by_group[group] = [*by_group.get(group, []), *_names(value)]
        else:
            by_group[group] = _names(value)
    left_out = {key[1:] for key, _, _ in parts if key.startswith("~")}
    found: dict[str, list[Entry]] = {}
    for group, names in by_group.items():
        if group in registry.groups:
            for entry in _entries(host, group, names):
                path = f"{group}.{entry.name}" if registry.groups[group].many else group
                if path not in left_out:
                    found.setdefault(path, []).append(entry)
    return found | nested


def _entries(host: Host, group: str, names: Sequence[str]) -> list[Entry]:
    entries = host.registry.entries
    return [entries[f"{group}/{name}"] for name in names if f"{group}/{name}" in entries]


def _names(value: str) -> list[str]:
    """The elements of `a`, `a,b` and `[a,b]`."""
    return [name for name in value.strip("[]").split(",") if name]


def defaults(file: str = "config.yaml") -> dict[str, list[str]]:
    """The options that a configuration file of oarlock's chooses, by group; those of a run without overrides."""
    path = Path(oarlock_conf.__file__).parent / file
    chosen: dict[str, list[str]] = {}
    for entry in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("defaults", []) if path.is_file() else []:
        for group, names in entry.items() if isinstance(entry, dict) else ():
            listed = names if isinstance(names, list) else [names]
            chosen[group.removeprefix("override ").lstrip("/")] = [name for name in listed if name]
    return chosen


def experiments(folder: str | None = None) -> list[str]:
    """The experiments that come with oarlock, and those in a folder of the user's own."""
    return sorted({path.stem for path in SHIPPED.glob("*.yaml")} | set(_own_files(folder, "experiment")))


def _own_files(folder: str | None, group: str) -> list[str]:
    return [path.stem for path in Path(folder).expanduser().glob(f"{group}/*.yaml")] if folder else []


def _config_dir(words: Sequence[str]) -> str | None:
    for number, word in enumerate(words):
        flag, _, value = word.partition("=")
        if flag in CONFIG_DIR_FLAGS:
            return value or next(iter(words[number + 1 :]), None)
    return None


def _matching(prefix: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith(prefix)]
