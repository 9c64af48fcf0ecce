"""What is refused before Hydra acts on it: code behind hydra.*, references that explode, overrides that vanish."""

from __future__ import annotations

import contextlib
import functools
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Sweep
from hydra.errors import HydraException
from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError

from oarlock.errors import UserError, nearest, one_line
from oarlock.registry import Group, Registry

# What a user may set of Hydra's own configuration, and what Hydra writes there itself. Anything else
# (callbacks, logging formatters, environment, search path) can execute code, so it must be as shipped.
HYDRA_MAY_BE_SET = (
    "run.dir",
    "sweep.dir",
    "sweep.subdir",
    "job.name",
    "job.config.override_dirname",
    "launcher",
    "sweeper",
    "verbose",
    "help",
    "mode",
)
HYDRA_WRITES = (
    "overrides",
    "runtime.version",
    "runtime.version_base",
    "runtime.cwd",
    "runtime.config_sources",
    "runtime.choices",
    "job.override_dirname",
    "job.config_name",
)
HYDRA_AS_SHIPPED = {
    "output_subdir": None,
    **{f"{logging}_logging.{key}": value for logging in ("job", "hydra") for key, value in
       {"version": 1, "root": None, "disable_existing_loggers": False}.items()},
}  # fmt: skip

HYDRA_GROUPS = re.compile(r"hydra/(launcher|sweeper)(/|@|$)")
ONLY_GROUPS = "not allowed. Of Hydra's groups you may choose: hydra/launcher, hydra/sweeper."
_ONLY_KEYS = f"not allowed. Of hydra.* you may set: {', '.join(HYDRA_MAY_BE_SET)}."

# Far above any real override or configuration, and far below what hurts.
MAX_OVERRIDE_LENGTH, MAX_OVERRIDE_DEPTH, MAX_RESOLVED = 20_000, 50, 50_000_000


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parse override strings with Hydra's grammar.

    Raises:
        UserError: it is no list of texts, or one of them is not of the grammar.
    """
    parsed = []
    for text in as_list(overrides):
        shown = text if len(text) <= 80 else f"{text[:80]}…"
        if len(text) > MAX_OVERRIDE_LENGTH or _depth(text) > MAX_OVERRIDE_DEPTH:
            raise UserError(f"{shown}: too long or nested too deeply for an override; put it into a file.")
        if not re.match(r"[+~]*[^=+~]", text):
            raise UserError(f"'{shown}' is not an override: expected key=value")
        try:
            parsed.append(_parser().parse_override(text))
        except (HydraException, RecursionError) as error:
            hint = "expected key=value" if "=" not in text and not text.startswith("~") else one_line(error)
            raise UserError(f"'{shown}' is not an override: {hint[:160]}{_quoted(text)}") from error
    return parsed


def as_list(overrides: Sequence[str]) -> list[str]:
    """The overrides that a caller of Python gave.

    Raises:
        UserError: it is no list of texts.
    """
    if isinstance(overrides, (list, tuple)) and all(isinstance(text, str) for text in overrides):
        return list(overrides)
    raise UserError(f"overrides={overrides!r}: expected a list of texts, ['trainer.epochs=3'].")


def _quoted(text: str) -> str:
    """How to type a text that Hydra's grammar takes in quotes only, as a line of its own; '' where that is not the matter."""
    key, _, value = text.partition("=")
    if value.startswith("[") and value.endswith(","):
        return f"\nIf the list goes on behind a space, quote all of it for the shell: '{text} …]'"
    written_out = re.match(r"""[\[{('"]|\w+\(""", value)  # lists, functions and quotes, with a mistake in them
    if not value or written_out or re.fullmatch(r"[\w.,+/-]+", value, re.ASCII):
        return ""
    quoted = "{}='{}'".format(key, value.replace("'", r"\'"))
    try:
        _parser().parse_override(quoted)
    except (HydraException, RecursionError):
        return ""
    typed = shlex.quote(quoted) if set(value) & set('"$`!\\') else f'"{quoted}"'
    return f"\nIf the value is a text, quote it, and all of it for the shell: {typed}"


@functools.cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        deepest = max(deepest, depth)
    return deepest


def vet_overrides(overrides: Sequence[str], registry: Registry) -> list[Override]:
    """Parse, and refuse before Hydra acts what it would execute, crash on, or silently drop."""
    chosen: dict[str, str] = {}
    parsed = parse(overrides)
    for override in parsed:
        key, text = override.key_or_group, override.input_line or override.key_or_group
        if key.startswith("hydra/") and not HYDRA_GROUPS.match(key):
            raise UserError(f"{text}: {ONLY_GROUPS}")
        if key == "hydra" or (key.startswith("hydra.") and not _within(key[6:], HYDRA_MAY_BE_SET)):
            raise UserError(f"{text}: {_ONLY_KEYS}")
        group = registry.groups.get(key)
        if group or key == "experiment" or key.startswith("hydra/"):
            _vet_choice(override, text, group, registry)
        if group and group.many and override.package is None and not isinstance(override.value(), dict):
            if key in chosen:
                # Hydra keeps the first of these and drops the other without a word.
                plus = "+" if chosen[key].startswith("+") and text.startswith("+") else ""
                raise UserError(f"{chosen[key]} {text}: name the group once, as a list: {plus}{key}=[a,b].")
            chosen[key] = text
    return parsed


def _vet_choice(override: Override, text: str, group: Group | None, registry: Registry) -> None:
    """What Hydra would take for a choice and then ignore, or explain in words for a file."""
    key, names = override.key_or_group, override.value()
    many = group.many if group else True
    if group and not registry.options(key):
        raise UserError(f"{text}: no {key} is installed; 'oarlock plugins' lists what was found.")
    if override.is_delete():
        if group and many and names is None:
            raise UserError(f"{text}: write {key}=[] for none, or ~{key}.NAME to leave one out.")
        if group and many and isinstance(names, str):
            raise UserError(f"{text}: write ~{key}.{names} to leave it out.")
        if group and group.required:
            raise UserError(f"{text}: one {key} is needed; choose another with {key}=…")
    elif names is None:
        none = f"{key}=[] for none" if many else f"{key}=NAME" if group and group.required else f"~{key} for none"
        raise UserError(f"{text}: null chooses nothing; write {none}.")
    elif not _are_names(names):
        raise UserError(f"{text}: expected a name. {nearest(str(names), registry.options(key))}")
    elif override.package is None:
        if isinstance(names, list) and not many and len(names) != 1:
            raise UserError(f"{text}: there is one {key}, not a list; write {key}=NAME.")
        if override.is_force_add() or (override.is_add() and not (many and group) and not isinstance(names, dict)):
            raise UserError(f"{text}: leave out the plus: {text.lstrip('+')}")


def _are_names(value: Any) -> bool:
    """Whether a value can choose options: a name, names, or values for the option that is chosen already."""
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, (str, dict, Sweep, Glob))


def vet_hydra(hydra: DictConfig, overrides: Sequence[str]) -> None:
    """Compare Hydra's own configuration with the shipped one, and its targets with the installed ones."""
    shipped = _shipped()
    values = OmegaConf.to_container(hydra, resolve=False)
    assert isinstance(values, dict)
    for path, value in _leaves(values):
        if _within(path, HYDRA_MAY_BE_SET + HYDRA_WRITES) or path.startswith("hydra_help"):
            continue
        if path not in shipped or shipped[path] != value:
            raise UserError(f"hydra.{path} is set by a configuration file: {_ONLY_KEYS}")
    recorded = values["overrides"]["task"] + values["overrides"]["hydra"]
    if not set(recorded) <= set(overrides):
        raise UserError(f"hydra.overrides is set by a configuration file: {_ONLY_KEYS}")
    for kind in ("launcher", "sweeper"):
        if not isinstance(values[kind], dict):
            raise UserError(f"hydra.{kind}: one must be chosen, with hydra/{kind}=…")
        installed = _installed(f"hydra/{kind}")
        target = values[kind].get("_target_")
        if not isinstance(target, str) or target not in installed:
            raise UserError(f"hydra.{kind}._target_={target}: not an installed {kind}.")
        for key in values[kind]:
            if key not in installed[target]:
                hint = nearest(str(key), [name for name in installed[target] if name != "_target_"])
                raise UserError(f"hydra.{kind}.{key}: it has no such option. {hint}")
        _vet_targets(hydra[kind], f"hydra.{kind}", installed)
    verbose = values["verbose"]
    names = verbose if isinstance(verbose, list) else [] if isinstance(verbose, bool) else [verbose]
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"hydra.verbose={verbose}: expected true, false, or the names of loggers.")


def _vet_targets(node: DictConfig | ListConfig, path: str, installed: Collection[str]) -> None:
    """Hydra instantiates whatever has a `_target_` in here, however deep, in lists too, and behind references."""
    keys: list[Any] = list(node.keys()) if isinstance(node, DictConfig) else list(range(len(node)))
    for key in keys:
        child: Any = node._get_node(key)
        where = f"{path}.{key}"
        if str(key).startswith("_") and (key != "_target_" or child._value() not in installed):
            raise UserError(f"{where}={child._value()}: not installed, so not allowed.")
        if child._is_interpolation():
            with contextlib.suppress(InterpolationToMissingValueError):  # the number of a job that is not yet there
                if isinstance(child._dereference_node(), Container):
                    raise UserError(f"{where}={child._value()}: a reference to several values is not allowed here.")
        elif isinstance(child, (DictConfig, ListConfig)) and not child._is_none() and not child._is_missing():
            _vet_targets(child, where, installed)


@functools.cache
def _shipped() -> dict[str, Any]:
    plain = OmegaConf.to_container(OmegaConf.structured(HydraConf), resolve=False)
    return {**dict(_leaves(plain)), **HYDRA_AS_SHIPPED}


def vet_interpolations(config: DictConfig) -> None:
    """Refuse references that multiply: a value with two references to one with two references, and so on."""
    factor, length = 1, 0
    for _, value in _leaves(OmegaConf.to_container(config, resolve=False)):
        if isinstance(value, str):
            factor *= max(len(re.findall(r"\$\{(?!now:|oc\.env:)", value)), 1)
            length += len(value)
    if factor * length > MAX_RESOLVED:
        raise UserError("The configuration has too many interpolations ${…} in one another.")


def _installed(group: str) -> dict[str, list[str]]:
    """What can be instantiated for a group of Hydra's, with its options."""
    configs = ConfigStore.instance()
    installed: dict[str, list[str]] = {}
    for name in configs.list(group):
        if name.endswith(".yaml"):
            node = configs.load(f"{group}/{name}").node
            installed[str(OmegaConf.select(node, "_target_"))] = [str(key) for key in node]
        else:
            installed |= _installed(f"{group}/{name}")
    return installed


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, f"{path}.{key}" if path else str(key))
    elif not (isinstance(value, dict) and not value):
        yield path, value


def _within(path: str, prefixes: Sequence[str]) -> bool:
    return any(path == prefix or path.startswith(prefix + ".") for prefix in prefixes)
