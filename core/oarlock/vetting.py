"""What is refused before Hydra acts on it: code behind hydra.*, exploding YAML, overrides that vanish silently."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from oarlock.errors import UserError, one_line
from oarlock.plugins import Registry

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
HYDRA_WRITES = ("overrides", "runtime", "job.override_dirname", "job.config_name", "job.id", "job.num", "defaults")
HYDRA_AS_SHIPPED = {
    "output_subdir": None,
    **{f"{logging}_logging.{key}": value for logging in ("job", "hydra") for key, value in
       {"version": 1, "root": None, "disable_existing_loggers": False}.items()},
}  # fmt: skip

# A configuration is small; these bounds are far above any real one and far below what hurts.
MAX_YAML_BYTES, MAX_YAML_NODES, MAX_YAML_DEPTH, MAX_OVERRIDE_DEPTH = 1_000_000, 20_000, 50, 50


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parse override strings with Hydra's grammar.

    Raises:
        UserError: one of them is not of the grammar.
    """
    parsed = []
    for text in overrides:
        if max(text.count("["), text.count("{"), text.count("(")) > MAX_OVERRIDE_DEPTH:
            raise UserError(f"{text[:40]}…: nested too deeply.")
        try:
            parsed.append(OverridesParser.create().parse_override(text))
        except (HydraException, RecursionError) as error:
            hint = "expected key=value" if "=" not in text and not text.startswith("~") else one_line(error)
            raise UserError(f"'{text}' is not an override: {hint}") from error
    return parsed


def vet_overrides(overrides: Sequence[str], registry: Registry) -> None:
    """Refuse, before Hydra acts, what it would execute, crash on, or silently drop."""
    chosen: dict[str, str] = {}
    for override in parse(overrides):
        key = override.key_or_group
        text = override.input_line or key
        if key.startswith("hydra/") and not re.match(r"hydra/(launcher|sweeper)(/|$)", key):
            raise UserError(f"{text}: {key} cannot be changed; of Hydra's groups only launcher and sweeper can.")
        if key == "hydra" or (key.startswith("hydra.") and not _within(key[6:], HYDRA_MAY_BE_SET)):
            raise UserError(f"{text}: not allowed. Of hydra.* you may set: {', '.join(HYDRA_MAY_BE_SET)}.")
        group = registry.groups.get(key)
        if group is None:
            continue
        if group.many and override.is_delete() and override.value() is None:
            raise UserError(f"{text}: write {key}=[] for none, or ~{key}.NAME to leave one out.")
        if not override.is_delete() and override.value() is None:
            none = f"{key}=[]" if group.many else f"{key}={_first(registry.options(key))}"
            raise UserError(f"{text}: null chooses nothing; write {none}.")
        if group.many and override.package is None:
            if key in chosen:
                # Hydra keeps the first of these and drops the other without a word.
                plus = "+" if chosen[key].startswith("+") and text.startswith("+") else ""
                raise UserError(f"{chosen[key]} {text}: name the group once, as a list: {plus}{key}=[a,b].")
            chosen[key] = text


def vet_hydra(hydra: DictConfig) -> None:
    """Compare Hydra's own configuration with the shipped one, and its targets with the installed ones."""
    shipped = dict(_leaves(OmegaConf.to_container(OmegaConf.structured(HydraConf), resolve=False)))
    shipped |= HYDRA_AS_SHIPPED
    for path, value in _leaves(OmegaConf.to_container(hydra, resolve=False)):
        if _within(path, HYDRA_MAY_BE_SET + HYDRA_WRITES) or path.startswith("hydra_help"):
            continue
        if path not in shipped or shipped[path] != value:
            raise UserError(
                f"hydra.{path} is set by a configuration file: not allowed.\n"
                f"Of hydra.* you may set: {', '.join(HYDRA_MAY_BE_SET)}."
            )
    for kind in ("launcher", "sweeper"):
        installed = _installed_targets(f"hydra/{kind}")
        for path, value in _leaves(OmegaConf.to_container(hydra[kind], resolve=False)):
            if path.rpartition(".")[2].startswith("_target_") and value not in installed:
                raise UserError(f"hydra.{kind}.{path}={value}: not an installed {kind}.")


def _installed_targets(group: str) -> set[str]:
    configs = ConfigStore.instance()
    targets: set[str] = set()
    for name in configs.list(group):
        if name.endswith(".yaml"):
            targets.add(str(OmegaConf.select(configs.load(f"{group}/{name}").node, "_target_")))
        else:
            targets |= _installed_targets(f"{group}/{name}")
    return targets


class VettedFileSource(FileConfigSource):
    """YAML files, refused before they are built when they would explode."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        if path.is_file():
            vet_yaml(path)
        return super().load_config(config_path)


def vet_yaml(path: Path) -> None:
    """Refuse a YAML file that is huge, deep, or grows by its aliases (each counts as what it stands for)."""
    if path.stat().st_size > MAX_YAML_BYTES:
        raise UserError(f"{path}: larger than {MAX_YAML_BYTES} bytes.")
    try:
        size, depth = _expanded(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from error
    if size > MAX_YAML_NODES or depth > MAX_YAML_DEPTH:
        raise UserError(f"{path}: {size} values, {depth} levels: too large or too deep for a configuration.")


def _expanded(path: Path) -> tuple[int, int]:
    """The number of nodes with aliases written out, and the deepest level."""
    anchors: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = deepest = 0
    with path.open(encoding="utf-8") as file:
        for event in yaml.parse(file, Loader=yaml.SafeLoader):
            if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                open_nodes.append((event.anchor, total))
                deepest = max(deepest, len(open_nodes))
                total += 1
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                anchor, before = open_nodes.pop()
                if anchor:
                    anchors[anchor] = total - before
            elif isinstance(event, yaml.ScalarEvent):
                total += 1
                if event.anchor:
                    anchors[event.anchor] = 1
            elif isinstance(event, yaml.AliasEvent):
                total += anchors.get(event.anchor or "", MAX_YAML_NODES)  # an alias inside its own anchor never ends
            if total > MAX_YAML_NODES or deepest > MAX_YAML_DEPTH:
                break
    return total, deepest


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, f"{path}.{key}" if path else str(key))
    elif not (isinstance(value, dict) and not value):
        yield path, value


def _within(path: str, prefixes: Sequence[str]) -> bool:
    return any(path == prefix or path.startswith(prefix + ".") for prefix in prefixes)


def _first(options: Sequence[str]) -> str:
    return options[0] if options else "…"
